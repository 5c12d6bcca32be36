"""`xfer inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xfer.cli.arguments import Backend, Corrections, Device
from xfer.cli.guard import guarded, print_json, printable, quiet_stdout, show
from xfer.cli.options import Config, Json, checked, require_data
from xfer.cli.suspects import print_suspects, suspects
from xfer.errors import UsageError
from xfer.workflows.config import read_toml

if TYPE_CHECKING:
    from rich.table import Table

    from xfer.data.audit.duplicates import Pair, Place
    from xfer.data.audit.result import Inspection, Range

_CLASSES = 20
_FILES = 50


@guarded
def inspect(
    data: Annotated[str | None, typer.Argument(help="folder, manifest, or 'digits'")] = None,
    val: Annotated[float | None, typer.Option(help="share held out where the data has no split")] = None,
    seed: Annotated[int | None, typer.Option(help="of the hold-out", min=0)] = None,
    pairs: Annotated[int, typer.Option(help="how many duplicates to name for each two splits", min=0)] = 10,
    workers: Annotated[int | None, typer.Option(help="threads; default: one a core", min=0)] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="read each file in a process that it may crash, 10 s at most")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--with",
            help="a run or an architecture, by whose features wrong labels, near-duplicates and outliers are found",
        ),
    ] = None,
    backend: Backend = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="folder for labels.html and suspects.csv, on which labels are corrected")
    ] = None,
    corrections: Corrections = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Inspect data before training: classes, sizes, duplicates, leaks between splits, damaged files, wrong labels."""
    from xfer.data import inspect as look
    from xfer.workflows.setup import read_data

    settings = read_toml(config)
    with quiet_stdout():
        require_data(settings, data)
        if out is not None and model is None:
            raise UsageError("--out is for what --with finds: give --with MODEL too, or leave it out")
        given = checked(settings, data=data, val=val, seed=seed, corrections=corrections)
        source = read_data(given)
        found = look(source, pairs=pairs, workers=workers, isolate=isolate)
        engine = backend or settings.get("backend")
        issues = suspects(source, model, engine, device, workers, isolate, out) if model is not None else None
    if json:
        print_json(asdict(found) | ({} if issues is None else issues.document()))
        return
    show(_splits(found))
    show(_classes(found))
    if found.duplicates or found.conflicts.total:
        show(_duplicates(found))
    if any(split.unreadable for split in found.splits.values()):
        show(_unreadable(found))
    for line in (*found.notes, *found.suggestions):
        print(f"- {printable(line)}")
    if issues is not None:
        print_suspects(issues, out)


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
            table.add_row(_cell(label), *(f"{split.counts[label]:,}" for split in found.splits.values()))
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
        table.add_row(name, _cell(bad.name), _cell(bad.reason))
    if len(rows) > _FILES:
        table.add_row("", f"... {len(rows) - _FILES:,} more", "--json names all")
    return table


def _examples(pairs: Iterable[Pair], total: int) -> str:
    lines = [f"{_where(pair.first)} = {_where(pair.second)}" for pair in pairs]
    rest = [f"... {total - len(lines):,} more"] if total > len(lines) else []
    return "\n".join([*lines, *rest])


def _where(place: Place) -> str:
    label = "" if place.label is None else f" ({place.label})"
    return _cell(f"{place.split}: {place.name}{label}")


def _range(found: Range | None) -> str:
    return "-" if found is None else f"{found.min} / {found.median:g} / {found.max}"


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def _cell(text: str) -> str:
    """Text that a table shows as it is: rich would take [brackets] in a file's name for markup."""
    from rich.markup import escape

    return escape(printable(text))
