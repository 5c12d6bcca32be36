"""Networks are ranked alike on every backend; tests/torch and tests/keras subclass it."""

import numpy as np
import pytest

import xfer
from xfer.testing import NumpyBackend


class RanksNetworks:
    """Set `backend`."""

    backend: str

    def test_the_scores_are_those_of_the_numpy_backend(self, tmp_path):
        """In float64, on seeded random weights; a second call computes no features."""
        rng = np.random.default_rng(0)
        labels = np.arange(40) % 2
        images = rng.integers(0, 200, (40, 16, 16, 3))
        images[np.arange(40), :, :, labels] += rng.integers(0, 50, (40, 1, 1))
        data = xfer.data.arrays(images.astype(np.uint8), labels, val=0)
        options = {"models": ["tiny:none"], "image_size": 16, "precision": "fp64", "cache": tmp_path}
        options |= {"progress": False, "batch_size": 40}
        expected = xfer.rank(data, backend=NumpyBackend(), **options).best
        found = xfer.rank(data, backend=self.backend, **options).best
        again = xfer.rank(data, backend=self.backend, **options).best
        assert found.backend == self.backend
        assert found.logme == pytest.approx(expected.logme, rel=1e-8)
        assert found.probe_accuracy == expected.probe_accuracy
        assert found.knn_accuracy == expected.knn_accuracy
        assert found.parameters == expected.parameters
        assert (found.computed, again.computed) == (40, 0)
        assert again.logme == found.logme
        assert found.seconds_per_image > 0
