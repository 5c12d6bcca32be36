"""`xfer rank`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.guard import guarded, print_json, printable, quiet_stdout, show
from xfer.cli.options import COMMAND, Json, checked, require_data, settings_options
from xfer.errors import UsageError
from xfer.specs.settings import RunSettings
from xfer.workflows.ranking.options import OPTIONS

_OWN = {"data", "backend", "cache", *OPTIONS}


@guarded
@settings_options(without=RunSettings.model_fields.keys() - _OWN)
def rank(
    given: dict[str, Any],
    models: Annotated[
        str | None,
        typer.Option(
            help="architectures, separated by commas; NAME:WEIGHTS for other weights than the best, NAME:none for "
            "random ones; what is not on this machine is downloaded. Default: all whose weights are on this machine",
            rich_help_panel=COMMAND,
        ),
    ] = None,
    under: Annotated[
        str | None,
        typer.Option(help="without --models: at most so many parameters, such as 30M", rich_help_panel=COMMAND),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for ranking.html and ranking.json", rich_help_panel=COMMAND)
    ] = None,
    json: Json = False,
) -> None:
    """Rank pretrained networks for a data set without training them: LogME, linear probe, k-NN, time and size."""
    from xfer.report.ranking import rank as run

    require_data(given)
    if checked(given).tasks:
        raise UsageError("networks are ranked for the classes of one task: leave tasks out")
    settings = {name: value for name, value in given.items() if name in _OWN}  # a file may have those of training
    with quiet_stdout():
        found = run(
            settings.pop("data"),
            models=None if models is None else [name for name in models.split(",") if name.strip()],
            under=under,
            out=out,
            **settings,
        )
    if json:
        print_json(found.document())
        return
    show(found.table())
    for note in found.notes():
        print(printable(note))
    if found.command:
        print(f"train the first: {printable(found.command)}")
    if out is not None:
        print(f"page: {out / 'ranking.html'}")
