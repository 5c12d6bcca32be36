"""`xfer parity`."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.guard import guarded, print_json, quiet_stdout, show
from xfer.cli.options import Json
from xfer.errors import UsageError

FAILED = 1


@guarded
def parity(
    model: Annotated[str, typer.Argument(help="an architecture; `xfer models` lists them")],
    backends: Annotated[str, typer.Option(help="two names with a comma between")] = "torch,tensorflow",
    weights: Annotated[str, typer.Option(help="'none' draws them; or 'imagenet', an entry, a path")] = "none",
    steps: Annotated[int, typer.Option(help="updates of each scenario", min=1)] = 20,
    optimizer: Annotated[str | None, typer.Option(help="only this rule: sgd, adam or adamw")] = None,
    precision: Annotated[str, typer.Option(help="fp64 (the proof), fp32 (the practice), or both")] = "fp64,fp32",
    forward: Annotated[bool, typer.Option("--forward", help="compare the forward stages alone")] = False,
    batch_size: Annotated[int, typer.Option(help="images an update", min=2)] = 8,
    image_size: Annotated[int | None, typer.Option(help="in pixels; default: 64, or what the model needs")] = None,
    seed: Annotated[int, typer.Option(help="of weights and images", min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="folder for parity.json and parity.html")] = None,
    json: Json = False,
) -> None:
    """Make the same runs on two backends and compare every tensor at every step. Exit code 1 if they differ."""
    from xfer.certify.run import parity as certify
    from xfer.certify.scenario import SCENARIOS
    from xfer.report.certificate import write

    with quiet_stdout():
        names = [name.strip() for name in backends.split(",")]
        if len(names) != 2:
            raise UsageError(f"--backends {backends}: give two names with a comma between, such as torch,tensorflow")
        certificate = certify(
            model,
            backends=names,
            weights=None if weights == "none" else weights,
            steps=steps,
            optimizer=optimizer,
            precisions=[name.strip() for name in precision.split(",")],
            batch_size=batch_size,
            image_size=image_size,
            scenarios=() if forward else SCENARIOS,
            seed=seed,
        )
        if out is not None:
            write(certificate, out)
    if json:
        print_json(codec.loads(certificate.to_json()))
    else:
        show(certificate.table())
        print(f"{model} on {' and '.join(names)}: {'the same' if certificate.passed else 'NOT the same'}")
        if out is not None:
            print(f"certificate: {out / 'parity.html'}")
    if not certificate.passed:
        raise typer.Exit(FAILED)
