"""`xfer inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xfer.cli.cells import cell, where
from xfer.cli.guard import guarded, print_json, printable, quiet_stdout, show
from xfer.cli.options import COMMAND, Json, checked, require_data, settings_options
from xfer.cli.suspects import print_suspects, suspects

if TYPE_CHECKING:
    from rich.table import Table

    from xfer.data import Data
    from xfer.data.audit.duplicates import Pair
    from xfer.data.audit.result import Inspection, Range
    from xfer.specs.preprocessing import Preprocessing
    from xfer.specs.settings import RunSettings

# The options of `xfer train` that decide which images a network gets, and how they look; and where `--with` computes.
OF_IMAGES = (
    *("data", "val", "limit", "columns", "tasks", "corrections", "seed", "workers", "on_bad"),
    *("model", "weights", "image_size", "missing_pixels", "decode", "backend", "device"),
    *("augment", "augment_minority", "mix", "sampling", "batch_size", "cache_views"),
)
_CLASSES = 20
_FILES = 50


@guarded
@settings_options(only=OF_IMAGES)
def inspect(
    given: dict[str, Any],
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="a run or an architecture, by whose features wrong labels, near-duplicates and outliers are found",
            rich_help_panel=COMMAND,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="folder for inspect.html: samples, and what the network gets of them in training; and with --with for "
            "labels.html and suspects.csv, on which labels are corrected",
            rich_help_panel=COMMAND,
        ),
    ] = None,
    pairs: Annotated[
        int,
        typer.Option(help="how many duplicates to name for each two splits", min=0, rich_help_panel=COMMAND),
    ] = 10,
    isolate: Annotated[
        bool,
        typer.Option(
            "--isolate", help="read each file in a process that it may crash, 10 s at most", rich_help_panel=COMMAND
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Inspect data before training: classes, sizes, duplicates, leaks between splits, damaged files, wrong labels."""
    from xfer.data import inspect as look
    from xfer.workflows.setup import read_data

    require_data(given)
    settings = checked({name: value for name, value in given.items() if name != "out"})  # a file's is that of a run
    page = issues = None
    with quiet_stdout():
        recipe = None if out is None else prepared(settings, out)
        source = read_data(settings)
        found = look(source, pairs=pairs, workers=settings.workers, isolate=isolate)
        if out is not None and recipe is not None:
            page = written(settings, recipe, source, found, out)
        if with_ is not None:
            issues = suspects(source, with_, settings.backend, settings.device, settings.workers, isolate, out)
    if json:
        pages = {} if page is None else {"page": str(page)}
        print_json(asdict(found) | pages | ({} if issues is None else issues.document()))
        return
    show(_splits(found))
    show(_classes(found))
    if found.duplicates or found.conflicts.total:
        show(_duplicates(found))
    if any(split.unreadable for split in found.splits.values()):
        show(_unreadable(found))
    for line in (*found.notes, *found.suggestions):
        print(f"- {printable(line)}")
    if page is not None:
        print(f"page: {printable(str(page))}")
    if issues is not None:
        print_suspects(issues, out)


def prepared(settings: RunSettings, out: Path) -> Preprocessing:
    """The preprocessing that the page shows; what the page needs and lacks is refused before the data is read."""
    from xfer.report.compare import require_libraries
    from xfer.report.inspection import preprocessing
    from xfer.workflows.results import writable

    require_libraries()
    writable(out)
    return preprocessing(settings)


def written(settings: RunSettings, recipe: Preprocessing, source: Data, found: Inspection, out: Path) -> Path:
    """The page, which is there now."""
    from xfer.report.inspection import write

    return write(settings, recipe, source, found, out)


def _splits(found: Inspection) -> Table:
    from rich.table import Table

    table = Table("", *found.splits)
    rows = {
        "listed": [f"{split.listed:,}" for split in found.splits.values()],
        "readable": [f"{split.readable:,}" for split in found.splits.values()],
        "unreadable": [f"{len(split.unreadable):,}" for split in found.splits.values()],
        "largest : smallest class": [
            "-" if split.imbalance is None else f"{split.imbalance:.3g}" for split in found.splits.values()
        ],
        "width: min / median / max": [_range(split.width) for split in found.splits.values()],
        "height: min / median / max": [_range(split.height) for split in found.splits.values()],
        "formats": [_tally(split.formats) for split in found.splits.values()],
        "modes": [_tally(split.modes) for split in found.splits.values()],
    }
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _classes(found: Inspection) -> Table:
    """Readable images of each class, the largest in train first; of many classes, both ends."""
    from rich.table import Table

    counts = found.splits["train"].counts
    order = sorted(counts, key=lambda label: (-counts[label], label))
    shown = order if len(order) <= _CLASSES else [*order[: _CLASSES // 2], None, *order[-_CLASSES // 2 :]]
    table = Table("readable images", *found.splits)
    for label in shown:
        if label is None:
            table.add_row(f"... {len(order) - _CLASSES:,} more classes")
        else:
            table.add_row(cell(label), *(f"{split.counts[label]:,}" for split in found.splits.values()))
    if any(split.unlabelled for split in found.splits.values()):
        table.add_row("(no label)", *(f"{split.unlabelled:,}" for split in found.splits.values()))
    return table


def _duplicates(found: Inspection) -> Table:
    from rich.table import Table

    table = Table("the same picture", "images", "pairs", "such as")
    for each in found.duplicates:
        where = f"twice in {each.first}" if each.first == each.second else f"in {each.first} and {each.second}"
        table.add_row(where, f"{each.images:,}", f"{each.total:,}", _examples(each.pairs, each.total))
    if found.conflicts.total:
        conflicts = found.conflicts
        examples = _examples(conflicts.pairs, conflicts.total)
        table.add_row("with different labels", f"{conflicts.images:,}", f"{conflicts.total:,}", examples)
    return table


def _unreadable(found: Inspection) -> Table:
    from rich.table import Table

    table = Table("split", "cannot be read", "reason")
    rows = [(name, bad) for name, split in found.splits.items() for bad in split.unreadable]
    for name, bad in rows[:_FILES]:
        table.add_row(name, cell(bad.name), cell(bad.reason))
    if len(rows) > _FILES:
        table.add_row("", f"... {len(rows) - _FILES:,} more", "--json names all")
    return table


def _examples(pairs: Iterable[Pair], total: int) -> str:
    lines = [f"{where(pair.first)} = {where(pair.second)}" for pair in pairs]
    rest = [f"... {total - len(lines):,} more"] if total > len(lines) else []
    return "\n".join([*lines, *rest])


def _range(found: Range | None) -> str:
    return "-" if found is None else f"{found.min} / {found.median:g} / {found.max}"


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"
