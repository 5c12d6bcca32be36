"""Checks that two backends made the same run, by what they recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfer.errors import XferError
from xfer.workflows.comparison.runs import Run
from xfer.workflows.comparison.units import difference_text

# What rounding makes of the mean loss of an epoch, relative; a wrong pixel, order or initial weight makes far more.
LOSS_TOLERANCE = {"fp64": 1e-6, "fp32": 1e-3, "bf16": 5e-2}


@dataclass(frozen=True)
class Check:
    """Something that was to be the same on every backend, whether it was, and what it was."""

    what: str
    same: bool
    detail: str


class InconsistentRunsError(XferError):
    """Runs that cannot be compared because they answer different questions."""


def require_same_questions(runs: Sequence[Run]) -> None:
    """Assert that all runs were judged by the same images.

    Raises:
        InconsistentRunsError: other classes, images, order or labels.
    """
    first = runs[0]
    for run in runs[1:]:
        pair = f"{first.backend} and {run.backend}"
        if run.classes != first.classes:
            raise InconsistentRunsError(f"{pair} have different classes: compare runs on the same data")
        if run.names != first.names:
            raise InconsistentRunsError(f"{pair} were validated on different images: use the same data, val and seed")
        if not np.array_equal(run.labels, first.labels):
            i = int(np.flatnonzero(run.labels != first.labels)[0])
            raise InconsistentRunsError(f"{pair} have different labels for {first.names[i]!r}: was the data changed?")


def checks(runs: Sequence[Run]) -> tuple[Check, ...]:
    """What was the same in runs that passed `require_same_questions`."""
    first = runs[0]
    return (
        Check("validation images", True, f"{len(first.names):,} images, {len(first.classes):,} classes, one order"),
        _check("training data", runs, lambda m: m["data"], _data),
        _check("configuration", runs, _settings, lambda _: "every option"),
        _check("parameters", runs, lambda m: m["parameters"], _parameters),
        _check("device and precision", runs, lambda m: (m["device"], m["precision"]), ", ".join),
        _check("schedule", runs, _schedule, _epochs),
        _first_loss(runs),
    )


def _check(what: str, runs: Sequence[Run], part: Callable[[dict[str, Any]], Any], show: Callable[[Any], str]) -> Check:
    parts = {run.backend: part(run.metrics) for run in runs}
    values = list(parts.values())
    if all(value == values[0] for value in values):
        return Check(what, True, show(values[0]))
    shown = {
        backend: _differing(value, values) if isinstance(value, dict) else show(value)
        for backend, value in parts.items()
    }
    if len(set(shown.values())) == 1:  # the difference lies in what is too long to show
        return Check(what, False, "see metrics.json of each run")
    return Check(what, False, "; ".join(f"{backend}: {text}" for backend, text in shown.items()))


def _differing(part: dict[str, Any], parts: Sequence[dict[str, Any]]) -> str:
    """The entries that are not the same in all parts, lists by their length."""
    keys = [key for key in part if any(other.get(key) != part[key] for other in parts)]
    return ", ".join(f"{key} {len(part[key]) if isinstance(part[key], list) else part[key]}" for key in keys)


def _settings(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics["config"].items() if key not in ("backend", "out")}


def _schedule(metrics: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(row["phase"], float(f"{row.get('lr', 0.0):.9g}"), row["images"]) for row in metrics["epochs"]]


def _data(data: dict[str, Any]) -> str:
    skipped = len(data["skipped"])
    return f"{data['train']:,} images" + (f", {skipped:,} unreadable ones left out" if skipped else "")


def _parameters(numbers: dict[str, Any]) -> str:
    return f"{numbers['trainable']:,} trainable, {numbers['frozen']:,} frozen"


def _epochs(rows: list[tuple[Any, ...]]) -> str:
    return f"{len(rows)} {'epoch' if len(rows) == 1 else 'epochs'}, learning rates and numbers of images"


def _first_loss(runs: Sequence[Run]) -> Check:
    """The loss of the first epoch is what shows equal pixels, order and initial weights."""
    config, precision = runs[0].metrics["config"], runs[0].metrics["precision"]
    losses = [run.metrics["epochs"][0]["loss"] for run in runs]
    difference = float(np.ptp(losses)) / max(abs(losses[0]), 1e-12)
    if any(config.get(name) for name in ("dropout", "drop_path", "backbone_dropout")):
        return Check(
            "dropout", False, f"each framework draws its own; training losses differ by {difference_text(difference)}"
        )
    tolerance = LOSS_TOLERANCE[precision]
    return Check(
        "first epoch",
        difference <= tolerance,
        f"losses differ by {difference_text(difference)}; rounding in {precision} explains up to {tolerance:g}",
    )
