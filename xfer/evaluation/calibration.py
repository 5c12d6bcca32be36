"""Temperature scaling, on validation data."""

from __future__ import annotations

from typing import Any

import numpy as np

from xfer.errors import UsageError
from xfer.evaluation.evaluation import Evaluation
from xfer.models.base_model import BaseModel
from xfer.runtime.progress import say
from xfer.specs.decision import Decision

_EDGE = 1.01  # what the minimiser may stay away from a bound


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least log loss of logits (N, K) against labels int64 (N,), in [0.01, 100].

    The loss is convex in 1 / temperature. Where it falls to a bound, because all labels are the most probable class or
    none says anything, there is no such temperature, and the result is 1.
    """
    from scipy.optimize import minimize_scalar

    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    of_label = z[np.arange(len(z)), labels]

    def loss(inverse: float) -> float:
        return float((np.log(np.exp(z * inverse).sum(axis=1)) - of_label * inverse).mean())

    found = float(minimize_scalar(loss, bounds=(0.01, 100.0), method="bounded", options={"xatol": 1e-10}).x)
    return 1.0 / found if 0.01 * _EDGE < found < 100.0 / _EDGE else 1.0


def calibrate(model: BaseModel, data: Any, **options: Any) -> float:
    """Set the model's temperature to that of the least log loss on `data`, and return it.

    Temperature scaling (Guo et al. 2017): what is predicted stays, how sure it is changes. Thresholds, which were
    chosen for other probabilities, are dropped.

    Args:
        model: of one task.
        data: as in `BaseModel.evaluate`; images that the model was trained on would make it too sure.
        options: of `BaseModel.evaluate`.
    """
    model.decision = Decision()
    found = evaluate_one_task(model, data, options)
    assert found.logits is not None
    model.decision = Decision(fit_temperature(found.logits, found.labels))
    if model.decision.temperature == 1.0:
        say(
            f"the temperature stays 1: {len(found.labels)} images, on which the model is "
            f"{found.metrics['accuracy']:.0%} right, do not say how sure it may be"
        )
    return model.decision.temperature


def evaluate_one_task(model: BaseModel, data: Any, options: dict[str, Any]) -> Evaluation:
    """The evaluation of a model with one task; with several, a UsageError."""
    found = model.evaluate(data, **options)
    if not isinstance(found, Evaluation):
        raise UsageError(f"{model.name} has several tasks: temperature and thresholds are of one")
    return found
