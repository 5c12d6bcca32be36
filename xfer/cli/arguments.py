"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from xfer.specs import choices

Backend = Annotated[
    str | None, typer.Option(help="torch, tensorflow or jax; default: the run's own, else the first there")
]
OnBad = Annotated[choices.OnBad | None, typer.Option(help="images that cannot be read")]
Split = Annotated[
    Literal["train", "val", "test", "all"] | None,
    typer.Option(help="which images to judge; default: val or test where the data has them, else all"),
]
Corrections = Annotated[
    str | None,
    typer.Option(help="CSV file of corrected labels, columns image and label; an empty label excludes the image"),
]
Tta = Annotated[str, typer.Option(help="mean over views of an image: none, flip, five-crop or ten-crop")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, gpu:0 or mps")]
Launcher = Annotated[
    Literal["none", "ray"], typer.Option(help="'ray': by workers of a Ray cluster, which RAY_ADDRESS names")
]
Processes = Annotated[int, typer.Option(help="workers of the launcher", min=1)]
