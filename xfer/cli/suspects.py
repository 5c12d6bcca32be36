"""`xfer inspect --with`: what is suspected, on the screen and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xfer.cli.cells import cell, where
from xfer.cli.guard import printable, show
from xfer.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from xfer.data.dataset import Data
    from xfer.evaluation.label_issues import LabelIssues

_ROWS = 20


def suspects(
    data: Data, model: str, backend: str | None, device: str, workers: int | None, isolate: bool, out: Path | None
) -> LabelIssues:
    """Find label issues and write them into `out`, if it is given."""
    from xfer.cli.models import local_run
    from xfer.evaluation.label_issues import find_label_issues
    from xfer.report.labels import require_page, write
    from xfer.workflows.ensemble_files import is_ensemble
    from xfer.workflows.results import writable

    if isolate:
        raise UsageError(
            "--isolate reads images in other processes, and features are computed in this one: leave it out"
        )
    if is_ensemble(model):
        raise UsageError(f"{model} is an ensemble: give the run of one member")
    if out is not None:
        require_page()
        writable(out)
    found = find_label_issues(data, local_run(model), backend=backend, device=device, workers=workers)
    if out is not None:
        write(found, data, out)
    return found


def print_suspects(found: LabelIssues, out: Path | None) -> None:
    """Tables of what is suspected, the first of each kind."""
    if found.label_errors:
        show(_errors(found))
    if found.near_duplicates or found.outliers or found.quality:
        show(_others(found))
    for note in found.notes:
        print(f"- {printable(note)}")
    print(found.summary())
    if out is not None:
        print(f"page: {out / 'labels.html'}")


def _errors(found: LabelIssues) -> Table:
    from rich.table import Table

    task = any(each.task for each in found.label_errors)
    table = Table("label suspected", "split", "given", "suggested", "score", *(["task"] if task else []))
    for each in found.label_errors[:_ROWS]:
        cells = [each.place.name, each.place.split, each.place.label or "", each.suggested, f"{each.score:.4f}"]
        table.add_row(*map(cell, [*cells, *([each.task] if task else [])]))
    return _rest(table, len(found.label_errors))


def _others(found: LabelIssues) -> Table:
    from rich.table import Table

    table = Table("suspected for", "images")
    for group in found.near_duplicates[:_ROWS]:
        table.add_row("near-duplicates", "\n".join(where(place) for place in group.places[:_ROWS]))
    _rest(table, len(found.near_duplicates))
    for outlier in found.outliers[:_ROWS]:
        table.add_row("outlier", where(outlier.place))
    _rest(table, len(found.outliers))
    for issue in found.quality[:_ROWS]:
        table.add_row(issue.issue, where(issue.place))
    return _rest(table, len(found.quality))


def _rest(table: Table, number: int) -> Table:
    if number > _ROWS:
        table.add_row(f"... {number - _ROWS:,} more", "--json and --out have all")
    return table
