"""What a run is judged on: all that is handed over, except what it was trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer.data import Data
from xfer.data.corrections import corrected
from xfer.data.dataset import Correction
from xfer.data.trained_on import contents
from xfer.errors import CheckpointError, DataError, UsageError
from xfer.evaluation.loaders import one_split
from xfer.specs.settings import RunSettings
from xfer.workflows.results import recorded
from xfer.workflows.setup import read_data


def judged_data(config: RunSettings, run: str | Path, split: str | None) -> tuple[Data, str]:
    """The data to judge a run on, and which images they are, in words.

    Args:
        config: how the data is read.
        run: its folder; where it has recorded that it was trained on these very images, the share that it held out is
            judged, with the run's corrections of labels unless others are given.
        split: as in `xfer.evaluation.evaluate.evaluate`.

    Raises:
        UsageError: there is no such split.
    """
    source = read_data(config, hold_out=False)
    if split is None and len(source.splits) == 1 and (own := _held_out(config, run)) is not None:
        labels = ", labels corrected" if own.corrections else ""
        return one_split(own, "val"), f"val, held out of the images that the run was trained on{labels}"
    name = split or next(name for name in ("val", "test", "train") if name in source.splits)
    alone = split is None and len(source.splits) == 1
    return one_split(source, name), "all" if alone else name


def _held_out(config: RunSettings, run: str | Path) -> Data | None:
    """The data as the run split it, if it was trained on these images."""
    try:
        before: dict[str, Any] = recorded(run) or {}
        settings = {name: before["config"][name] for name in ("val", "seed", "limit") if name in before["config"]}
        own = read_data(config.model_copy(update=settings | {"corrections": None}))
        # The run's file of corrections may be gone; what it changed is recorded.
        corrections = [Correction(*each) for each in before["data"].get("corrections", [])]
        own = corrected(own, corrections)
        given = before["data"].get("given") or {"sha256": before["data"]["sha256"]["train"]}  # of older runs
        same = own.train.fingerprint() == given["sha256"]
        same = same and given.get("contents") in (None, contents(own.train))
    except (CheckpointError, DataError, UsageError, AttributeError, KeyError, TypeError):
        return None
    if not same or own.val is None:
        return None
    # The same images are held out with and without corrections: those that are given now have the last word.
    return replace(own if config.corrections is None else read_data(config.model_copy(update=settings)), test=None)
