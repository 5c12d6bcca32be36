"""The same bits from each run on TensorFlow."""

from dataclasses import replace

import pytest
import tensorflow as tf

import xfer
from tests.suites.determinism import LONG, SHORT, Determinism
from xfer.errors import DeviceError


class TestKeras(Determinism):
    backend = "tensorflow"

    @pytest.mark.long
    @pytest.mark.parametrize(("runs", "number"), [(SHORT, 2), (LONG, 20)], ids=["short", "long"])
    def test_repeats_have_one_hash(self, tmp_path, runs, number):
        super().test_repeats_have_one_hash(tmp_path, runs, number)


@pytest.mark.parametrize(("device", "asked"), [("cpu", False), ("cuda:0", True)])
def test_only_a_gpu_needs_the_switch_that_cannot_be_turned_back(monkeypatch, device, asked):
    """There, what has no deterministic algorithm is named in one line; here with the words of TensorFlow."""
    model = xfer.load("tiny", backend="tensorflow", weights=None, classes=2, image_size=16, device="cpu")
    assert model.spec.deterministic
    switched = []
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: switched.append(True))
    said = "Deterministic GPU implementation of X is not available."
    there = model.backend.deterministically(replace(model.spec, device=device))
    with pytest.raises(DeviceError if asked else tf.errors.UnimplementedError) as error, there:
        raise tf.errors.UnimplementedError(None, None, f"{said}\n\t [[node]]")
    assert switched == [True] * asked
    if asked:
        assert str(error.value).startswith(f"{said} (cuda:0): freeze")
        assert "\n" not in str(error.value)
