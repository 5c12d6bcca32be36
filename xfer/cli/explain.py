"""`xfer explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from xfer.cli.arguments import Backend, Device
from xfer.cli.guard import guarded, print_json, printable, quiet_stdout
from xfer.cli.models import open_model
from xfer.cli.options import Config, Json
from xfer.errors import UnreadableError
from xfer.workflows.config import read_toml

if TYPE_CHECKING:
    from xfer.models.predictor import Predictor


@guarded
def explain(
    model: Annotated[str, typer.Argument(help="folder of a run, hf://owner/repo, or an architecture (ImageNet head)")],
    images: Annotated[
        list[str],
        typer.Argument(help="image files, folders, tables (.csv, .tsv, .parquet), or text files with a path a line"),
    ],
    out: Annotated[Path, typer.Option(help="folder for an overlay of each image (.png) and explanations.html")],
    target: Annotated[
        str | None, typer.Option(help="class to explain, by name or index, or task=class; default: the predicted one")
    ] = None,
    method: Annotated[Literal["grad-cam", "occlusion"], typer.Option(help="how to explain")] = "grad-cam",
    block: Annotated[
        str | None, typer.Option(help="whose output Grad-CAM reads; default: the last that is a map")
    ] = None,
    patch: Annotated[int | None, typer.Option(help="of occlusion: pixels; default: a seventh of the image")] = None,
    stride: Annotated[int | None, typer.Option(help="of occlusion: pixels; default: half of the patch")] = None,
    top: Annotated[int, typer.Option(help="how many classes to list", min=1)] = 3,
    backend: Backend = None,
    weights: Annotated[
        str, typer.Option(help="for an architecture: 'imagenet', an entry, a path, or hf://owner/repo")
    ] = "imagenet",
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="images a forward pass", min=1)] = 32,
    config: Config = None,
    json: Json = False,
) -> None:
    """Show which parts of images a prediction depends on: Grad-CAM or occlusion."""
    from xfer.data.sources.lists import listed
    from xfer.data.sources.paths import existing
    from xfer.report.compare import require_libraries
    from xfer.report.explanations import write
    from xfer.runtime.paths import expanded
    from xfer.workflows.ensemble import Ensemble
    from xfer.workflows.results import writable

    settings = read_toml(config)
    with quiet_stdout():
        require_libraries(["jinja2"])
        paths = [existing(name) for name in images]  # before the model is loaded
        loaded = open_model(model, backend or settings.get("backend"), device, weights)
        if isinstance(loaded, Ensemble):
            loaded.explain(paths)
        split = listed(paths, loaded.column_names)
        options: dict[str, Any] = {"method": method, "block": block, "patch": patch, "stride": stride}
        options["target"] = _target(loaded, target)
        loaded.explain(split.subset(np.arange(0)), **options)  # refuses what cannot be explained
        folder = writable(expanded(out))
        found = write(loaded, split, folder, top=top, batch_size=batch_size, **options)
    if json:
        print_json({"out": str(folder), **found})
    else:
        for row in found["images"]:
            print(f"{printable(row['image'])}: {printable(row['target'])} {row['target_output']:.4g}  {row['overlay']}")
        if found["page"]:
            print(f"page: {printable(str(folder / found['page']))}")
    if found["unreadable"]:
        raise UnreadableError(found["unreadable"], None)


def _target(model: Predictor, given: str | None) -> str | int | None:
    """A class name, or else an index."""
    return int(given) if given is not None and given not in model.classes and given.isdecimal() else given
