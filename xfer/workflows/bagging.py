"""Bagging of heads on one backbone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xfer.data import Data
from xfer.errors import UsageError
from xfer.features.extract import extract
from xfer.models.base_model import BaseModel
from xfer.runtime.progress import each
from xfer.specs.head import Head
from xfer.training.trainer import Trainer
from xfer.workflows.ensemble import Ensemble, Member


def bag(
    model: BaseModel,
    data: Any,
    *,
    members: int = 10,
    epochs: int = 10,
    head: Head | None = None,
    seed: int = 0,
    **options: Any,
) -> Ensemble:
    """Bagging (Breiman 1996): heads on one backbone, each trained on as many images drawn with replacement.

    The backbone makes one pass over the images; the model's own head is replaced.

    Args:
        model: its backbone is used as it is.
        data: whatever `xfer.data.load` takes.
        members: how many heads.
        epochs: of each.
        head: their shape; linear by default.
        seed: of draws, order and initial weights; each head has its own.
        options: of `Trainer`, such as `lr`.
    """
    if members < 1:
        raise UsageError(f"members={members}: give at least 1")
    features: Data = extract(model, data)
    found, columns = [], model.columns or model.spec.columns
    for number in each(range(members), "training heads", members, "heads"):
        drawn = np.random.default_rng([seed, number]).integers(0, len(features.train), len(features.train))
        model.replace_head(features.classes, head, seed + number, columns=columns)
        model.freeze()
        trainer = Trainer(model, seed=seed + number, **({"progress": False} | options))
        trainer.fit(replace(features, train=features.train.subset(drawn)), epochs)
        found.append(Member(model, model.read(n for n in model.shapes() if model.card.block_of(n) == "head")))
    return Ensemble(tuple(found))
