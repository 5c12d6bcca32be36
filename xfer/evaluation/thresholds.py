"""Decision thresholds of classes, chosen on validation data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.evaluation.calibration import evaluate_one_task
from xfer.evaluation.metrics import metric
from xfer.evaluation.predictions import Predictions
from xfer.models.base_model import BaseModel
from xfer.specs.decision import Decision, softmax

_CANDIDATES = 101

_ROUNDS = 10


def fit_thresholds(probabilities: np.ndarray, score: Callable[[np.ndarray], float]) -> tuple[float, ...]:
    """Thresholds under which `score` of the named classes is highest, by coordinate ascent from equal ones.

    For one class after another, the thresholds tried lie at quantiles of p_k over the best of the others: there, and
    nowhere between, what is named changes. A change is kept if it is better. As the first classes named are those of
    equal thresholds, the result is never worse than none.

    Args:
        probabilities: (N, K) of validation images.
        score: of classes named, int64 (N,); higher is better.
    """
    classes = probabilities.shape[1]
    thresholds = np.full(classes, 1.0 / classes)
    best = score(Decision(thresholds=tuple(thresholds)).choose(probabilities))
    for _ in range(_ROUNDS):
        before = best
        for k in range(classes):
            ranked = probabilities / thresholds
            others = np.delete(ranked, k, axis=1).max(axis=1)
            ratios = probabilities[:, k] / np.maximum(others, np.finfo(np.float64).tiny)
            for candidate in np.quantile(ratios[ratios > 0], np.linspace(0, 1, _CANDIDATES)):
                trial = thresholds.copy()
                trial[k] = candidate * (1 - 1e-9)
                found = score(Decision(thresholds=tuple(trial)).choose(probabilities))
                if found > best:
                    best, thresholds = found, trial
        if best == before:
            break
    return tuple(float(t) for t in thresholds / thresholds.sum())


def tune_thresholds(
    model: BaseModel, data: Any, metric_name: str = "balanced_accuracy", **options: Any
) -> dict[str, float]:
    """Set the model's thresholds to those with the best metric on the validation split of `data`, and return them.

    Args:
        model: of one task; its temperature stays.
        data: whatever `xfer.data.load` takes.
        metric_name: one that depends on the classes named, such as "macro_f1".
        options: of `BaseModel.evaluate`.
    """
    model.decision = replace(model.decision, thresholds=())
    found, rule = evaluate_one_task(model, data, options), metric(metric_name)
    assert found.logits is not None

    def score(named: np.ndarray) -> float:
        value = rule.compute(Predictions.of(found.probabilities, found.labels, found.logits, named))
        return -np.inf if value is None else value if rule.higher else -value

    chosen = fit_thresholds(softmax(found.logits), score)
    model.decision = replace(model.decision, thresholds=chosen)
    return dict(zip(model.classes, chosen, strict=True))
