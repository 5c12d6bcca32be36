import shutil

import numpy as np
import pytest

import xfer
from tests.suites.runs_v0_1 import EXPECTED, RUNS, RunsOfVersion01, images
from xfer.features.cache import FeatureCache
from xfer.testing import NumpyBackend


class TestNumpy(RunsOfVersion01):
    backend = NumpyBackend()


def test_cached_features_of_0_1_are_found(tmp_path):
    import PIL

    shutil.copytree(RUNS / "features", tmp_path / "cache")
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b", "c"], image_size=16)
    (stored,) = (tmp_path / "cache").iterdir()
    if stored.name != model.fingerprint("features"):
        pytest.skip(f"written with other versions than NumPy {np.__version__} and Pillow {PIL.__version__}")
    used = FeatureCache(tmp_path / "cache").fill(model, images())
    assert [used.there, used.computed] == [EXPECTED["cache"][1], 0]
