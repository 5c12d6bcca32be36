"""`xfer compare` and `xfer demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.guard import guarded, print_json, quiet_stdout, show
from xfer.cli.options import COMMAND, Json, require_data, settings_options

# About two minutes on two cores, most of it the fine-tuning.
DEMO = {
    "data": "digits",
    "model": "efficientnet_lite0",
    "image_size": 96,
    "epochs": 3,
    "fine_tune": 4,
    "unfreeze": 3,
    "lr": 3e-3,
    "schedule": "cosine",
}


@guarded
@settings_options(without=("backend", "out"))
def compare(
    given: dict[str, Any],
    backends: Annotated[
        str | None,
        typer.Option(help="names separated by commas; default: torch,tensorflow", rich_help_panel=COMMAND),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the comparison", rich_help_panel=COMMAND)] = Path("comparison"),
    json: Json = False,
) -> None:
    """Make the same run on several frameworks, each in its own process: a table, compare.json and report.html."""
    settings = {key: value for key, value in given.items() if key not in ("backend", "backends", "out")}
    _compare(settings, str(backends or given.get("backends", "torch,tensorflow")).split(","), out, json)


@guarded
def demo(
    out: Annotated[Path, typer.Option(help="folder of the comparison")] = Path("demo"), json: Json = False
) -> None:
    """Compare both frameworks on scikit-learn's digits with ImageNet weights: about two minutes on two cores."""
    _compare(DEMO, ["torch", "tensorflow"], out, json)


def _compare(settings: dict[str, Any], backends: list[str], out: Path, as_json: bool) -> None:
    import json

    from xfer.report.compare import compare as run

    require_data(settings)
    with quiet_stdout():
        comparison = run(backends=[name.strip() for name in backends], out=str(out), **settings)
    if as_json:
        print_json(json.loads(comparison.to_json()))
        return
    show(comparison.table())
    print(f"report: {out / 'report.html'}")
