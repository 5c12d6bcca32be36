"""The examples on TensorFlow/Keras."""

import numpy as np
import pytest

from tests.suites.examples import Examples


class TestKeras(Examples):
    backend = "tensorflow"

    @pytest.mark.long
    def test_one_config(self):
        super().test_one_config()

    @pytest.mark.long
    def test_imbalance(self, monkeypatch, tmp_path):
        super().test_imbalance(monkeypatch, tmp_path)

    def cifar10(self):
        """Two pairs of arrays, labels (N, 1), as keras.datasets.cifar10.load_data() gives them."""
        rng = np.random.default_rng(0)
        return tuple(
            (rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8), (np.arange(n) % 10).astype(np.uint8)[:, None])
            for n in (40, 20)
        )
