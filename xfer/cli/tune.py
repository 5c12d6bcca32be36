"""`xfer tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xfer.cli.guard import guarded, print_json, printable, quiet_stdout, show
from xfer.cli.options import COMMAND, Json, require_data, settings_options
from xfer.specs.space import parse_words
from xfer.workflows.tuning.job import LEFT_OUT


@guarded
@settings_options(without=LEFT_OUT)
def tune(
    given: dict[str, Any],
    trials: Annotated[
        int, typer.Option(help="trials in all, with those that are in --out", min=1, rich_help_panel=COMMAND)
    ] = 20,
    metric: Annotated[
        str | None,
        typer.Option(
            help="on validation, by which trials and epochs are compared; default: loss", rich_help_panel=COMMAND
        ),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            help="what to search in place of the default: NAME=LOW..HIGH or NAME=A|B; may be repeated. In the file of "
            "--config it is a table, space",
            rich_help_panel=COMMAND,
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="seconds after which no trial begins", rich_help_panel=COMMAND)
    ] = None,
    prune: Annotated[
        bool, typer.Option(help="end trials that are worse than the median of the others", rich_help_panel=COMMAND)
    ] = True,
    out: Annotated[
        Path, typer.Option(help="folder for best.toml, tuning.html, tuning.json and the study", rich_help_panel=COMMAND)
    ] = Path("tune"),
    launcher: Annotated[
        Literal["none", "ray"], typer.Option(help="'ray': trials in parallel, by Ray Tune", rich_help_panel=COMMAND)
    ] = "none",
    processes: Annotated[int, typer.Option(help="trials at a time with Ray", min=1, rich_help_panel=COMMAND)] = 1,
    json: Json = False,
) -> None:
    """Search learning rate, weight decay and other options by trials on the validation split, with Optuna.

    A search that was interrupted goes on when the same command is given again.
    """
    from xfer.report.tuning import PAGE
    from xfer.report.tuning import tune as run

    require_data(given)
    searched = given.pop("space", None)  # a table of the file
    with quiet_stdout():
        found = run(
            given.pop("data"),
            trials=trials,
            metric=metric or given.get("monitor"),
            space=parse_words(space) if space else searched,
            timeout=timeout,
            prune=prune,
            out=out,
            launcher=launcher,
            processes=processes,
            **{name: value for name, value in given.items() if name not in LEFT_OUT},
        )
    if json:
        print_json(found.document())
        return
    show(found.table())
    print(f"best: trial {found.best.number}, {found.metric} {found.best.value:.4f}, optimistic: it was chosen by it")
    print(f"train with its options: {printable(found.command)}")
    print(f"page: {printable(str(found.path / PAGE))}")
