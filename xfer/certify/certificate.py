"""The certificate: what was compared, the differences, and their bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from xfer.runtime import html

FLOOR = 1e-5


@dataclass(frozen=True)
class Stage:
    """One comparison of many tensors.

    Args:
        name: such as "gradients" or "step 7: slots".
        error: of the worst tensor, see `compare`; 0 if all are bitwise equal.
        worst: that tensor's name.
        bound: what is allowed; None where nothing is claimed.
        tensors: how many were compared.
    """

    name: str
    error: float
    worst: str
    bound: float | None
    tensors: int

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound; NaN never is."""
        return self.bound is None or self.error <= self.bound


@dataclass(frozen=True)
class Trial:
    """The stages of one scenario in one precision."""

    scenario: str
    precision: str
    stages: tuple[Stage, ...]

    def __repr__(self) -> str:
        verdict = "pass" if self.passed else "FAIL"
        return f"Trial({self.scenario}, {self.precision}: {verdict}, {len(self.stages)} stages)"

    @property
    def passed(self) -> bool:
        """Whether every stage is within its bound."""
        return all(stage.passed for stage in self.stages)

    @property
    def first_failure(self) -> Stage | None:
        """The first stage that is not: where the two part."""
        return next((stage for stage in self.stages if not stage.passed), None)

    @property
    def worst(self) -> Stage:
        """The stage with the largest error."""
        return max(self.stages, key=lambda stage: stage.error)


@dataclass(frozen=True)
class Certificate:
    """Whether a model is the same on two backends, with the figures."""

    model: str
    backends: tuple[str, str]
    versions: dict[str, dict[str, str]]
    settings: dict[str, Any]
    trials: tuple[Trial, ...] = field(default_factory=tuple)

    def __repr__(self) -> str:
        passed = sum(trial.passed for trial in self.trials)
        verdict = "passed" if self.passed else "FAILED"
        pair = " and ".join(self.backends)
        return (
            f"Certificate({self.model} on {pair}: {verdict}, {passed} of {len(self.trials)} runs within their bounds)"
        )

    def _repr_html_(self) -> str:
        """One row a run with its worst tensor, as a notebook shows it."""
        rows = [[*cells[:-1], "pass" if trial.passed else "FAIL"] for trial, cells in self._rows()]
        said = "the same on" if self.passed else "NOT the same on"
        head = ("run", "precision", "stages", "worst error", "bound", "where", "verdict")
        title = html.title(f"{self.model} is {said} {' and '.join(self.backends)}")
        return html.view(title, html.table(head, rows[:40]), html.more(min(len(rows), 40), len(rows), "runs"))

    def _rows(self) -> list[tuple[Trial, tuple[str, ...]]]:
        """Of each trial what a table shows: its worst stage, or where it parted."""
        found: list[tuple[Trial, tuple[str, ...]]] = []
        for trial in self.trials:
            shown = trial.first_failure or trial.worst
            bound = "-" if shown.bound is None else f"{shown.bound:.0e}"
            where = f"{shown.name}: {shown.worst}" if shown.worst else shown.name
            verdict = "[green]pass[/green]" if trial.passed else "[red]FAIL[/red]"
            error = f"{shown.error:.1e}"
            stages = str(len(trial.stages))
            found.append((trial, (trial.scenario, trial.precision, stages, error, bound, where, verdict)))
        return found

    @property
    def passed(self) -> bool:
        """Whether every stage of every trial is within its bound."""
        return all(trial.passed for trial in self.trials)

    def to_json(self) -> str:
        """Everything, as a JSON document."""
        trials = [
            {
                **asdict(trial),
                "passed": trial.passed,
                "stages": [{**asdict(stage), "passed": stage.passed} for stage in trial.stages],
            }
            for trial in self.trials
        ]
        return json.dumps({**asdict(self), "passed": self.passed, "trials": trials}, indent=1)

    def table(self) -> Any:
        """A rich table for the screen: one row a trial, with the worst tensor, or where it parted."""
        from rich.table import Table

        table = Table("scenario", "precision", "stages", "worst error", "bound", "where", "")
        for _, row in self._rows():
            table.add_row(*row)
        return table


def compare(name: str, ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], bound: float | None) -> Stage:
    """Compare tensors by name.

    The error of a tensor is the largest difference, over the largest absolute element of the reference (`ours`). Where
    a tensor is nothing but rounding (the gradient of a bias below batch norm), it is measured by what else the stage
    holds: the divisor is at least `FLOOR` times the largest element of all its tensors.
    """
    if set(ours) != set(theirs):
        return Stage(name, float("inf"), sorted(set(ours) ^ set(theirs))[0], bound, len(ours))
    largest = max((float(np.abs(array).max(initial=0)) for array in ours.values()), default=0.0)
    worst, where = 0.0, ""
    for tensor, array in ours.items():
        other = theirs[tensor]
        if array.shape != other.shape:
            return Stage(name, float("inf"), tensor, bound, len(ours))
        if array.tobytes() == other.tobytes():
            continue
        difference = np.abs(array.astype(np.float64) - other.astype(np.float64)).max(initial=0)
        scale = max(float(np.abs(array).max(initial=0)), FLOOR * largest, np.finfo(np.float64).tiny)
        error = float(difference) / scale
        if not error <= worst:  # also where it is NaN
            worst, where = error if np.isfinite(error) else float("inf"), tensor
    return Stage(name, worst, where, bound, len(ours))
