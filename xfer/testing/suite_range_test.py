"""The range test of learning rates: as one written by hand in float64, and without a trace in model and trainer."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xfer
from xfer.models.base_model import BaseModel
from xfer.testing.suite_base import CLASSES, Suite, images, labels

_BATCH = 8


class RangeTests(Suite):
    """Losses, suggestion, and what is left behind."""

    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    def test_it_is_that_of_softmax_regression_in_numpy(self, optimizer: str, tmp_path: Path) -> None:
        """Which makes the losses those of any other backend, too."""
        model = self.model("fp64")
        model.freeze()
        x, y = images(40), labels(40)
        features, start = model.features(x), model.weights()
        trainer = self._trainer(model, tmp_path, optimizer=optimizer, seed=3)
        found = trainer.find_lr(xfer.data.arrays(x, y, x, y, classes=CLASSES), updates=60, low=1e-5, high=1e2)
        _assert_same(model.weights(), start)
        assert not any(array.any() for array in trainer.stepper.state().values())
        expected = _by_hand(features, y, start["fc.weight"], start["fc.bias"], optimizer, 60, 1e-5, 1e2)
        assert len(found.losses) == len(expected)
        np.testing.assert_allclose(found.losses, expected, rtol=1e-8)
        assert list(tmp_path.rglob("*.rows")), "outputs of the frozen blocks were cached"
        assert found.rates[1] / found.rates[0] == pytest.approx(1e7 ** (1 / 59))

    def test_it_leaves_no_trace(self, tmp_path: Path) -> None:
        data = xfer.data.arrays(images(20), labels(20), images(9, 1), labels(9), classes=CLASSES)
        model = self.model(head=xfer.Head((8,), 0.3, "batch"))
        trainer = self._trainer(model, tmp_path, batch_size=10)
        trainer.fit(data, 1)
        weights, slots, generation = model.weights(), trainer.stepper.state(), model.generation
        found = trainer.find_lr(data, updates=20)
        _assert_same(model.weights(), weights)
        _assert_same(trainer.stepper.state(), slots)
        assert (model.generation, trainer.epoch, trainer.batch, len(trainer.history)) == (generation, 1, 0, 1)
        assert trainer.find_lr(data, updates=20) == found

    def test_a_fit_with_lr_auto_is_that_with_the_rate_it_finds(self, tmp_path: Path) -> None:
        data = xfer.data.arrays(images(32), labels(32), images(9, 1), labels(9), classes=CLASSES)
        found = list[Any]()
        for lr in ("auto", None):
            model = self.model()
            model.freeze("stem")
            options: dict[str, Any] = {"lr": found[0][0] if lr is None else lr, "augment": "flip"}
            trainer = self._trainer(model, tmp_path, **options)
            rows = [{k: v for k, v in row.items() if k != "seconds"} for row in trainer.fit(data, 2)]
            found.append((trainer.rates["head"], rows, model.weights()))
        assert 1e-6 <= found[0][0] <= 1
        assert found[0][:2] == found[1][:2]
        _assert_same(found[0][2], found[1][2])

    def _trainer(self, model: BaseModel, cache: Path, **options: Any) -> xfer.Trainer:
        settings: dict[str, Any] = {"batch_size": _BATCH, "progress": False, "cache": cache} | options
        return xfer.Trainer(model, **settings)


def _assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert {name: array.tobytes() for name, array in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}


def _by_hand(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray, optimizer: str, updates: int, low: float, high: float
) -> list[float]:
    """Losses of softmax regression with PyTorch's update rules, until four times the least smoothed loss."""
    orders = cycle([np.random.default_rng([3, epoch]).permutation(len(x)) for epoch in (0, 1)])
    batches = [order[i : i + _BATCH] for order, _ in zip(orders, range(20), strict=False) for i in range(0, 40, _BATCH)]
    parameters, losses, means = [w.copy(), b.copy()], list[float](), list[float]()
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for step in range(updates):
        rows, rate = batches[step], low * (high / low) ** (step / (updates - 1))
        logits = x[rows] @ parameters[0].T + parameters[1]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        losses.append(float(-np.log(shares[np.arange(len(rows)), y[rows]]).mean()))
        means.append(float(np.average(losses, weights=0.98 ** np.arange(step, -1, -1))))
        if means[-1] > 4 * min(means):
            break
        shares[np.arange(len(rows)), y[rows]] -= 1
        gradients = [shares.T @ x[rows] / len(rows), shares.mean(0)]
        for i, gradient in enumerate(gradients):
            if optimizer == "sgd":
                first[i] = 0.9 * first[i] + gradient
                parameters[i] -= rate * first[i]
                continue
            parameters[i] *= 1 - rate * 0.01
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            scale = np.sqrt(second[i] / (1 - 0.999 ** (step + 1))) + 1e-8
            parameters[i] -= rate * first[i] / (1 - 0.9 ** (step + 1)) / scale
    return losses
