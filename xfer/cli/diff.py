"""`xfer diff`."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.guard import guarded, print_json, printable, quiet_stdout, show
from xfer.cli.options import Json

PARTED = 1


@guarded
def diff(
    a: Annotated[Path, typer.Argument(help="the trace of xfer.record that is as it should be")],
    b: Annotated[Path, typer.Argument(help="the trace that remedies are for")],
    map_: Annotated[
        Path | None, typer.Option("--map", help='a TOML file with "layer or tensor in a" = "its partner in b"')
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for diff.json and diff.html")] = None,
    json: Json = False,
) -> None:
    """Say why two recorded training runs differ, stage by stage, with remedies. Exit code 1 if they do."""
    from xfer.traces.diff import diff as compare

    with quiet_stdout():
        found = compare(a, b, map_)
        page = None if out is None else found.write(out)
    if json:
        print_json(codec.loads(found.to_json()))
    else:
        if found.findings:
            show(found.table())
        for note in found.notes:
            print(f"- {printable(note)}")
        print(printable(found.summary))
        if page is not None:
            print(f"page: {printable(str(page))}")
    if not found.same:
        raise typer.Exit(PARTED)
