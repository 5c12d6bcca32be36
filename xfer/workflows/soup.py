"""One model with the mean weights of several: a greedy soup."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data import load as load_data
from xfer.errors import UsageError
from xfer.evaluation.metrics import metric
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.training.weight_averaging import mean_weights


def soup(
    models: Sequence[BaseModel | str | Path],
    data: Any,
    *,
    metric_name: str = "accuracy",
    backend: str | None = None,
    **options: Any,
) -> tuple[BaseModel, list[int]]:
    """A greedy soup (Wortsman et al. 2022, arXiv:2203.05482): one model with the mean weights of several.

    Best first by the validation split of `data`, each is added if the mean is no worse with it. So the soup is at
    least as good there as the best of them, and costs one model.

    Args:
        models: runs or models of one architecture and the same classes, fine-tuned from the same weights.
            Adapters are merged, in models that are given, too.
        data: whatever `xfer.data.load` takes.
        metric_name: of `xfer.evaluation.metrics`.
        backend: to load runs on.
        options: of `BaseModel.evaluate`.

    Returns:
        The soup, which is the best model with other weights, and which models are in it, in the order of adding.
    """
    if not models:
        raise UsageError("a soup has no models: give at least one")
    source, higher = load_data(data), metric(metric_name).higher
    opened = [each if not isinstance(each, str | Path) else load(each, backend=backend) for each in models]
    for model in opened:
        if model.spec.lora is not None:  # a mean of A and of B would not be that of B A
            model.merge_lora()
    for other in opened[1:]:
        if other.shapes() != opened[0].shapes() or other.classes != opened[0].classes:
            raise UsageError(f"{other.name} and {opened[0].name} differ in tensors or classes: they cannot be averaged")

    def score(model: BaseModel) -> float:
        found: float = model.evaluate(source, **options).metric(metric_name)
        return found if higher else -found

    scores = [score(model) for model in opened]
    order = sorted(range(len(opened)), key=lambda i: -scores[i])
    weights = [model.weights() for model in opened]
    pot, chosen, best = opened[order[0]], [order[0]], scores[order[0]]
    total = {name: array.astype(np.float64) for name, array in weights[order[0]].items()}
    for i in order[1:]:
        trial = {name: total[name] + array for name, array in weights[i].items()}
        pot.set_weights(mean_weights(trial, len(chosen) + 1, pot))
        if (found := score(pot)) >= best:
            total, best = trial, found
            chosen.append(i)
    pot.set_weights(mean_weights(total, len(chosen), pot))
    return pot, chosen
