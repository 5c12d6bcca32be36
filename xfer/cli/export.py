"""`xfer export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from xfer.cli.arguments import Backend
from xfer.cli.guard import guarded, print_json, quiet_stdout
from xfer.cli.options import Json
from xfer.cli.summary import summary


@guarded
def export(
    run: Annotated[str, typer.Argument(help="folder of a run")],
    to: Annotated[str, typer.Option(help="onnx, saved-model, litert, torch-export, torchvision or keras")],
    out: Annotated[
        Path, typer.Option(help="the file; without the format's suffix, the folder in which it is called 'model'")
    ],
    backend: Backend = None,
    precision: Annotated[str, typer.Option(help="float32; of litert also float16 or int8")] = "float32",
    check: Annotated[
        str | None, typer.Option(help="images to compare on; default: the validation images of the run")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="images that int8 takes its ranges from; default: the run's training images")
    ] = None,
    bound: Annotated[
        float | None,
        typer.Option(help="greatest difference of a probability; default: 1e-4, float16 1e-2, int8 the classes", min=0),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run as a file that runs without xfer, and compare it with the model."""
    from xfer.exporting.export import export as write

    with quiet_stdout():
        done = write(
            run,
            out,
            to=to,
            precision=precision,  # type: ignore[arg-type]
            check=check,
            calibration=calibration,
            bound=bound,
            backend=backend,
        )
    found = done.check
    if json:
        print_json({**asdict(done), "path": str(done.path)})
        return
    rows = {
        "size": f"{done.bytes / 1e6:.1f} MB",
        "weights of the model": f"{done.model_bytes / 1e6:.1f} MB",
        "opened by": found.runtime,
        "compared on": f"{found.images:,} images of {done.images}",
        "greatest difference of a probability": f"{found.greatest_difference:.1e}",
        "same class": f"{found.equal_classes:,} of {found.images:,}",
        "time for an image": f"{found.milliseconds:.1f} ms, in the model {found.model_milliseconds:.1f} ms",
    }
    if found.needs_xfer:
        rows["import before"] = "xfer_keras_nets.layers, xfer_keras_nets.attention, xfer_keras_nets.rotary"
    summary(f"{done.format}, {done.precision}", rows, file=done.path)
