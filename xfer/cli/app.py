"""The commands, in one application."""

from __future__ import annotations

from typing import Annotated

import typer

from xfer.cli import (
    about,
    certify,
    compare,
    diff,
    ensembles,
    evaluate,
    explain,
    export,
    features,
    gap,
    inspect,
    predict,
    push,
    rank,
    train,
    tune,
)
from xfer.runtime.version import __version__

app = typer.Typer(
    help="One transfer-learning workflow for images, unchanged on PyTorch, TensorFlow and JAX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    inspect.inspect,
    rank.rank,
    features.features,
    train.train,
    tune.tune,
    evaluate.evaluate,
    predict.predict,
    explain.explain,
    export.export,
    ensembles.ensemble,
    ensembles.soup,
    push.push,
    compare.compare,
    certify.parity,
    diff.diff,
    gap.gap,
    about.models,
    about.backends,
    compare.demo,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def xfer_(version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False) -> None:
    """One transfer-learning workflow for images, unchanged on PyTorch, TensorFlow and JAX."""
    if version:
        print(__version__)
        raise typer.Exit
