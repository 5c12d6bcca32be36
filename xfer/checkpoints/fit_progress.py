"""What a fit under way has recorded so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class FitProgress:
    """What a fit has recorded so far, so that it can be continued exactly.

    Args:
        history: a row for each epoch that is over.
        losses: of the batches of the epoch under way, with the numbers of their labelled images.
        images: of the epoch under way so far.
        skipped: images of the training split that could not be read so far: name, reason, whether a blank one is used.
        stop: whether a callback has asked for the end of the fit.
        callbacks: what each keeps, as `callback/name`.
        extra: what else belongs to the run, as JSON has it.
    """

    __pydantic_config__: ClassVar = {"arbitrary_types_allowed": True}  # callbacks are read beside

    history: tuple[dict[str, Any], ...] = ()
    losses: tuple[tuple[float, int], ...] = ()
    images: int = 0
    skipped: tuple[tuple[str, str, bool], ...] = ()
    stop: bool = False
    callbacks: Mapping[str, np.ndarray] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
