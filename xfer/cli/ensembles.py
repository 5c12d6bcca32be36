"""`xfer ensemble` and `xfer soup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.arguments import Backend, Device
from xfer.cli.guard import guarded, quiet_stdout
from xfer.cli.options import Config, checked
from xfer.cli.summary import summary
from xfer.workflows.config import read_toml


@guarded
def ensemble(
    runs: Annotated[list[str], typer.Argument(help="folders of runs on the same classes, of any framework")],
    out: Annotated[Path, typer.Option(help="folder of the ensemble")] = Path("ensemble"),
    vote: Annotated[
        str | None, typer.Option(help="data on whose validation split the weights of the members are chosen")
    ] = None,
    device: Device = "auto",
    config: Config = None,
) -> None:
    """Combine several runs into one model that averages their probabilities."""
    from xfer.workflows.ensemble import Ensemble, load_members
    from xfer.workflows.setup import read_data

    settings = read_toml(config)
    with quiet_stdout():
        made = Ensemble(load_members(runs, device=device))
        if vote is not None:
            made = made.vote(read_data(checked(settings, data=vote)))
        made.save(out)
    weights = {f"{i}. {name}": f"{w:.3f}" for i, (name, w) in enumerate(zip(runs, made.weights, strict=True), 1)}
    summary("weight", weights, ensemble=out)


@guarded
def soup(
    runs: Annotated[list[str], typer.Argument(help="folders of runs of one architecture")],
    data: Annotated[
        str, typer.Option(help="data on whose validation split the members are chosen: folder, manifest, or 'digits'")
    ],
    out: Annotated[Path, typer.Option(help="folder of the new run")] = Path("soup"),
    metric: Annotated[str, typer.Option(help="of `xfer evaluate`")] = "accuracy",
    backend: Backend = None,
    config: Config = None,
) -> None:
    """Average the weights of several runs of one architecture, greedily, as long as the metric gets no worse."""
    from xfer.workflows.setup import read_data
    from xfer.workflows.soup import soup as average

    settings = read_toml(config)
    with quiet_stdout():
        source = read_data(checked(settings, data=data))
        made, chosen = average(runs, source, metric_name=metric, backend=backend or settings.get("backend"))
        made.save(out)
    rows = {f"{i + 1}. {name}": "averaged" if i in chosen else "left out" for i, name in enumerate(runs)}
    summary("soup", rows, run=out)
