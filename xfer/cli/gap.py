"""`xfer gap`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.guard import guarded, print_json, printable, quiet_stdout, show
from xfer.cli.options import COMMAND, Json, require_data, settings_options
from xfer.specs.numerics import PARTS
from xfer.specs.settings import RunSettings
from xfer.workflows.differences.options import OPTIONS

_OWN = {"data", "backend", "cache", *OPTIONS}
_PARTS = ", ".join(PARTS)


@guarded
@settings_options(without=RunSettings.model_fields.keys() - _OWN)
def gap(
    given: dict[str, Any],
    from_: Annotated[
        str, typer.Option("--from", help="whose habits the runs begin with: torch or keras", rich_help_panel=COMMAND)
    ] = "torch",
    to: Annotated[str, typer.Option(help="whose habits take their place", rich_help_panel=COMMAND)] = "keras",
    parts: Annotated[
        str | None,
        typer.Option(
            help=f"which, separated by commas, or NAME=VALUE; default: all, which are {_PARTS}",
            rich_help_panel=COMMAND,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="runs of each kind, at least 2", rich_help_panel=COMMAND)] = 5,
    out: Annotated[Path | None, typer.Option(help="folder for gap.html and gap.json", rich_help_panel=COMMAND)] = None,
    json: Json = False,
) -> None:
    """Measure what each difference between PyTorch and Keras is worth in accuracy and loss, in one engine.

    Defaults that differ from those of xfer train: 5 epochs of the head, 5 of fine-tuning with batch normalisation
    trained, precision fp32.
    """
    from xfer.report.gap import gap as run

    require_data(given)
    settings = {name: value for name, value in given.items() if name in _OWN}  # a file may have others
    with quiet_stdout():
        found = run(settings.pop("data"), from_=from_, to=to, parts=parts, seeds=seeds, out=out, **settings)
    if json:
        print_json(found.document())
        return
    show(found.table())
    for note in found.notes():
        print(printable(note))
    print(printable(found.summary()))
    if out is not None:
        print(f"page: {printable(str(out / 'gap.html'))}")
