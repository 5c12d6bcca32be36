"""Compiled or not, by the clock: here one that stands still but for what a backend makes of it."""

import numpy as np
import pytest

import xfer
from xfer.models import compilation
from xfer.runtime.devices import deterministic as resolve_deterministic
from xfer.specs.update import UpdateSpec
from xfer.testing import NumpyBackend

IMAGES = np.zeros((3, 16, 16, 3), np.uint8)


class Clock:
    """Seconds that pass with each batch: with and without a compiled function, which takes 10 more at first."""

    def __init__(self, monkeypatch, model, *, plain, fast):
        self.now, self.model, self.costs, self.calls = 0.0, model, {False: plain, True: fast}, []
        monkeypatch.setattr(compilation.time, "perf_counter", lambda: self.now)

    def batch(self, work):
        compiled = self.model.compiled[work]
        self.now += self.costs[compiled] + 10 * (compiled and True not in self.calls)
        self.calls.append(compiled)


def model():
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=2, image_size=16, compile=True)


def test_the_faster_way_is_kept_and_the_break_even_is_said(monkeypatch, capsys):
    network = model()
    clock = Clock(monkeypatch, network, plain=3.0, fast=1.0)
    compilation.choose("inference", lambda: clock.batch("inference"), network.compiled, network.spec.deterministic)
    assert network.compiled == {"inference": True}
    # 10 s are lost at first, and 2 s won with every batch.
    assert "compiled in 11 s: a batch takes 1 s, 3 s without; it has paid after 5 batches" in capsys.readouterr().err


def test_what_is_not_faster_is_left(monkeypatch, capsys):
    network = model()
    clock = Clock(monkeypatch, network, plain=1.0, fast=1.0)
    compilation.choose("training", lambda: clock.batch("training"), network.compiled, network.spec.deterministic)
    assert network.compiled == {"training": False}
    assert "it goes on without" in capsys.readouterr().err


def test_what_cannot_be_compiled_goes_on_without(capsys):
    network = model()

    def once():
        if network.compiled["inference"]:
            raise RuntimeError("\nNo working C++ compiler found\nin /usr/bin")

    compilation.choose("inference", once, network.compiled, network.spec.deterministic)
    assert network.compiled == {"inference": False}
    assert "goes on without: No working C++ compiler found\n" in capsys.readouterr().err


def test_each_kind_of_work_is_measured_once_on_its_first_batch(monkeypatch):
    network, settled = model(), []
    monkeypatch.setattr(
        compilation,
        "choose",
        lambda work, once, compiled, _: (settled.append(work), compiled.update({work: False}), once()),
    )
    for _ in range(2):
        network.logits(IMAGES)
        stepper = network.backend.stepper(network, UpdateSpec(xfer.OptimizerSpec(), xfer.LossSpec()))
        stepper.step(IMAGES, np.array([0, 1, 0]), dict.fromkeys(network.blocks, 0.1))
    assert settled == ["inference", "training"]


@pytest.mark.parametrize("asked", [False, True])
def test_nothing_is_measured_unless_it_is_asked_for(monkeypatch, asked):
    monkeypatch.setattr(compilation, "choose", lambda *_: pytest.fail("measured"))
    network = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=2, image_size=16, compile=asked)
    if asked:
        with pytest.raises(pytest.fail.Exception):
            network.logits(IMAGES)
    else:
        network.logits(IMAGES)


def test_a_deterministic_run_does_not_ask_the_clock(monkeypatch, capsys):
    options = {"weights": None, "classes": 2, "image_size": 16, "compile": True}
    network = xfer.load("tiny", backend=NumpyBackend(), deterministic=True, **options)
    clock = Clock(monkeypatch, network, plain=1, fast=3)
    compilation.choose("training", lambda: clock.batch("training"), network.compiled, network.spec.deterministic)
    assert network.compiled == {"training": True}
    assert "it goes on compiled, because the run is deterministic" in capsys.readouterr().err


def test_what_is_deterministic_if_nobody_says():
    options = {"weights": None, "classes": 2, "image_size": 16}
    for asked, compiled, expected in ((None, False, True), (None, True, False), (False, False, False)):
        network = xfer.load("tiny", backend=NumpyBackend(), deterministic=asked, compile=compiled, **options)
        assert network.spec.deterministic == expected
    assert not resolve_deterministic(None, "cuda:0")
    assert resolve_deterministic(True, "cuda:0")
