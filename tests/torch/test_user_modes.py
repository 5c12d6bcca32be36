"""What the user has switched on or off in torch neither changes a run, nor is changed by it."""

import threading
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

import xfer
from tests.suites.processes import forking

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
DATA = xfer.data.arrays(IMAGES, np.arange(8) % 2, IMAGES, np.arange(8) % 2, classes=["a", "b"])


def trained(around=nullcontext, disturb=None, precision="fp32"):
    options = {"weights": None, "classes": ["a", "b"], "image_size": 16, "precision": precision}
    model = xfer.load("tiny", backend="torch", device="cpu", **options)
    callbacks = [] if disturb is None else [disturb]
    trainer = xfer.Trainer(
        model, lr=0.05, optimizer="adamw", batch_size=4, progress=False, cache=False, callbacks=callbacks
    )
    with around():
        trainer.fit(DATA, 2)
        model.predict_proba(list(IMAGES))
    return model.weights()


class Modes(xfer.callbacks.Callback):
    """A callback that leaves the network in a mode of its own."""

    def __init__(self, training):
        self.training = training

    def on_step_end(self, trainer, step, loss):
        trainer.model.native.train(self.training)


@pytest.mark.parametrize(
    "around",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.set_grad_enabled(False),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_fit_inside_of_a_context(around, precision):
    expected, found = trained(precision=precision), trained(around, precision=precision)
    torch.set_grad_enabled(True)
    assert all(found[name].tobytes() == array.tobytes() for name, array in expected.items())


@pytest.mark.parametrize("training", [True, False])
def test_the_networks_mode(training):
    expected, found = trained(), trained(disturb=Modes(training))
    assert all(found[name].tobytes() == array.tobytes() for name, array in expected.items())


def test_the_settings_of_the_user_stay():
    """Many threads, some with models that are deterministic, some with others."""
    cudnn = torch.backends.cudnn
    cudnn.benchmark = True
    try:
        models = [
            xfer.load("tiny", backend="torch", device="cpu", weights=None, classes=2, image_size=16, deterministic=d)
            for d in (True, False, True, False)
        ]
        threads = [
            threading.Thread(target=lambda m=m: [m.logits(IMAGES) for _ in range(20)]) for m in models for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.get_deterministic_debug_mode() == 0
        assert (cudnn.benchmark, cudnn.deterministic) == (True, False)
    finally:
        cudnn.benchmark = False


def test_predicting_first_chooses_on_a_pass_that_computes(monkeypatch):
    """compile=True is chosen by a clock, on the network and not on its head alone."""
    from xfer.models import compilation

    chosen = []

    def choose(work, once, compiled, deterministic):
        compiled[work] = False
        chosen.append(once())

    monkeypatch.setattr(compilation, "choose", choose)
    model = xfer.load("tiny", backend="torch", device="cpu", weights=None, classes=2, image_size=16, compile=True)
    model.logits(IMAGES[:0])
    assert chosen == []
    model.predict(list(IMAGES))
    assert [list(found) for found in chosen] == [["features"]]
    assert chosen[0]["features"].shape == (8, model.card.feature_dim)


def test_no_compiler(monkeypatch, capsys):
    """Where torch.compile finds none, the model works without, and says so once."""

    def missing(*args, **kwargs):
        raise RuntimeError("no C++ compiler is here")

    model = xfer.load("tiny", backend="torch", device="cpu", weights=None, classes=2, image_size=16, compile=True)
    plain = xfer.load("tiny", backend="torch", device="cpu", weights=None, classes=2, image_size=16)
    monkeypatch.setattr(model, "_fast", dict.fromkeys(model.stages, missing))
    np.testing.assert_array_equal(model.predict_proba(list(IMAGES)), plain.predict_proba(list(IMAGES)))
    assert "inference cannot be compiled, and goes on without: no C++ compiler is here" in capsys.readouterr().err


def switch_tf32(interface, wanted):
    """What a process does: TF32 as its user wants it, off in xfer's passes, and as it was."""
    from torch.backends import cuda, cudnn

    from xfer_torch.backend import _exact_float32

    new, tf32 = interface == "new", wanted == "tf32"
    if new:
        cudnn.conv.fp32_precision = cuda.matmul.fp32_precision = "tf32" if tf32 else "ieee"
    else:
        cudnn.allow_tf32 = cuda.matmul.allow_tf32 = tf32

    def now():
        if new:
            return cudnn.conv.fp32_precision, cuda.matmul.fp32_precision
        return cudnn.allow_tf32, cuda.matmul.allow_tf32

    before = now()
    for _ in range(2):
        with _exact_float32(True), _exact_float32(True):
            assert "tf32" not in (cudnn.conv.fp32_precision, cuda.matmul.fp32_precision)
        assert now() == before


@pytest.mark.parametrize("wanted", ["tf32", "exact"])
@pytest.mark.parametrize("interface", ["old", "new"])
def test_tf32_is_off_and_then_as_the_user_had_it(interface, wanted):
    """In a process of its own: torch does not let one process use both interfaces."""
    done = forking("torch").run(f"{__name__}:switch_tf32", interface, wanted)
    assert done.returncode == 0, done.stderr


def test_no_pass_on_a_gpu_is_without_it(monkeypatch):
    """Here without a GPU: the context of all passes."""
    from xfer_torch import backend

    model = xfer.load("tiny", backend="torch", weights=None, classes=["a", "b"], image_size=16, device="cpu")
    switched = []
    monkeypatch.setattr(backend, "_exact_float32", lambda on: switched.append(on) or nullcontext())
    with model.backend.deterministically(model.spec):
        assert switched == []
    with model.backend.deterministically(replace(model.spec, device="cuda:0")):
        assert switched == [True]
