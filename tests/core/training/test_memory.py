"""The batch that memory holds: found by trial, by measure, and by the trainer."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import xfer
from xfer.errors import DataError, UsageError
from xfer.runtime.profiling import available_memory
from xfer.testing import NumpyBackend
from xfer.training import batch_size
from xfer.training.batch_size import largest_batch
from xfer.workflows.config import run_settings

MIB = 1 << 20


def is_memory_error(error):
    return isinstance(error, MemoryError)


def device_with_room_for(images):
    tried = []

    def step(number):
        tried.append(number)
        if number > images:
            raise MemoryError

    return step, tried


@pytest.mark.parametrize(("room", "found"), [(1, 1), (3, 2), (20, 16), (10_000, 64)])
def test_by_trial_it_is_the_last_that_fitted(room, found):
    step, tried = device_with_room_for(room)
    assert largest_batch(step, 64 * 16, on_host=False, out_of_memory=is_memory_error) == found
    assert tried == [2**i for i in range(len(tried))]


def test_no_room_for_one_is_an_error_and_other_errors_are_their_own():
    with pytest.raises(DataError, match="not even one image fits"):
        largest_batch(device_with_room_for(0)[0], 1000, on_host=False, out_of_memory=is_memory_error)

    def broken(number):
        raise ValueError("a shape")

    with pytest.raises(ValueError, match="a shape"):
        largest_batch(broken, 1000, on_host=False, out_of_memory=is_memory_error)


@pytest.mark.parametrize(("images", "most"), [(5, 1), (32, 2), (245, 8), (1600, 64), (10**6, 256)])
def test_an_epoch_keeps_sixteen_updates(images, most):
    for on_host in (False, True):
        assert largest_batch(lambda number: None, images, on_host=on_host, out_of_memory=is_memory_error) == most


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a phase is known on Linux alone")
@pytest.mark.parametrize(("room", "found"), [(1000, 16), (250, 4), (10, 1)])
def test_on_the_host_it_is_computed_from_two_small_batches(monkeypatch, room, found):
    """40 MiB an image, of which three quarters of the room are used; nothing larger than eight is tried."""
    monkeypatch.setattr(batch_size, "available_memory", lambda: room * MIB)
    tried = []

    def step(number):
        tried.append(number)
        np.ones(number * 40 * MIB, np.uint8)

    assert largest_batch(step, 10**6, on_host=True, out_of_memory=is_memory_error) == found
    assert max(tried) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_available_memory_is_less_than_there_is():
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal:"))
    assert 0 < available_memory() < int(line.split()[1]) * 1024


def runs(batch_size):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (80, 16, 16, 3), np.uint8), np.arange(80) % 2
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=2, image_size=16)
    trainer = xfer.Trainer(model, batch_size=batch_size, progress=False)
    trainer.fit(xfer.data.arrays(x, y, x[:8], y[:8]), 2)
    return trainer


def test_a_trainer_finds_its_batch_and_trains_as_if_it_had_been_told(capsys):
    found, told = runs("auto"), runs(4)
    assert found.batch_size == found.state().batch_size == 4
    assert "batch size: 4" in capsys.readouterr().err
    weights = told.model.weights()
    assert all(array.tobytes() == weights[name].tobytes() for name, array in found.model.weights().items())


def test_the_command_line_and_the_file_take_a_number_or_auto():
    assert run_settings({"data": "x", "batch_size": "auto"}).batch_size == "auto"
    assert run_settings({"data": "x", "batch_size": "64"}).images_per_pass == 64
    assert json.loads(run_settings({"data": "x", "batch_size": "auto"}).model_dump_json())["batch_size"] == "auto"
    for wrong in ("0", "many"):
        with pytest.raises(UsageError, match="batch_size"):
            run_settings({"data": "x", "batch_size": wrong})
