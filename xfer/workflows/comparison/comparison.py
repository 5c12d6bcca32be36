"""The results of the same run on several backends, side by side."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from xfer.runtime import html
from xfer.runtime.version import __version__
from xfer.workflows.comparison.agreement import Agreement, Disagreement, agreement, disagreements
from xfer.workflows.comparison.checks import Check, checks, require_same_questions
from xfer.workflows.comparison.runs import Run
from xfer.workflows.comparison.units import bytes_text, difference_text, phases, seconds_text

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """The same run on several backends.

    Args:
        runs: what `metrics.json` of each run says, by backend.
        agreement: how far their answers agree.
        disagreements: images to which they give different classes, the widest gap first.
        checks: what was to be the same on every backend, and whether it was.
        environment: where they ran.
    """

    runs: dict[str, dict[str, Any]]
    agreement: Agreement
    disagreements: tuple[Disagreement, ...]
    checks: tuple[Check, ...]
    environment: dict[str, str]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Comparison:
        """Compare finished runs.

        Raises:
            InconsistentRunsError: they were not judged by the same images.
        """
        require_same_questions(runs)
        return cls(
            runs={run.backend: run.metrics for run in runs},
            agreement=agreement(runs),
            disagreements=disagreements(runs),
            checks=checks(runs),
            environment=_environment(),
        )

    def __repr__(self) -> str:
        a, failed = self.agreement, len(self.failed_checks)
        same = f"the same class for {a.same_class:,} of {a.images:,} images"
        return (
            f"Comparison({', '.join(self.runs)}: {same}; {len(self.checks) - failed} of {len(self.checks)} checks hold)"
        )

    def _repr_html_(self) -> str:
        """The table with a column a backend, as a notebook shows it."""
        rows = [(name, *(cell.replace("\n", ", ") for cell in cells)) for name, cells in self._rows()]
        failed = [html.note(f"Not the same: {check.what} ({check.detail})") for check in self.failed_checks]
        return html.view(html.title(self.summary()), html.table(("", *self.runs), rows), *failed)

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """What was to be the same and was not."""
        return tuple(check for check in self.checks if not check.same)

    def summary(self) -> str:
        """The agreement in a sentence."""
        a = self.agreement
        return (
            f"The same class for {a.same_class:,} of {a.images:,} validation images ({a.share:.1%}); "
            f"probabilities differ by {difference_text(a.mean_difference)} on average and "
            f"{difference_text(a.max_difference)} at most, losses by {difference_text(a.loss_difference)} at most."
        )

    def to_json(self) -> str:
        """The whole comparison as a JSON document."""
        document = asdict(self)
        document["agreement"]["loss_difference"] = self.agreement.loss_difference
        return json.dumps(document, indent=1)

    def table(self) -> Table:
        """The comparison for the screen: a column a backend, and the agreement below."""
        from rich.table import Table
        from rich.text import Text

        caption = self.summary() + "".join(
            f"\nNot the same: {check.what} ({check.detail})" for check in self.failed_checks
        )
        table = Table(caption=Text(caption), caption_justify="left")
        table.add_column("")
        for backend in self.runs:
            table.add_column(Text(backend), justify="right")
        for name, values in self._rows():
            table.add_row(name, *map(Text, values))
        return table

    def _rows(self) -> list[tuple[str, list[str]]]:
        runs = list(self.runs.values())
        rows = [
            ("versions", ["\n".join(f"{k} {v}" for k, v in run["versions"].items()) for run in runs]),
            ("val accuracy", [f"{run['val']['accuracy']:.4f}" for run in runs]),
            ("macro F1", [f"{run['val']['macro_f1']:.4f}" for run in runs]),
            ("val loss", [f"{run['val']['loss']:.5f}" for run in runs]),
        ]
        for phase, title in phases(runs).items():
            rows.append((f"{title}, s", [seconds_text(run["seconds"].get(phase)) for run in runs]))
        peaks = [max(run["peak_memory_bytes"].values()) for run in runs]
        return [*rows, ("peak memory", [bytes_text(peak) for peak in peaks])]


def _environment() -> dict[str, str]:
    return {
        "xfer": __version__,
        "Python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
    }
