"""`xfer predict`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xfer.cli.arguments import Backend, Device, Tta
from xfer.cli.guard import guarded, print_json, printable, quiet_stdout
from xfer.cli.models import open_model
from xfer.cli.options import Config, Json
from xfer.workflows.config import read_toml


@guarded
def predict(
    model: Annotated[str, typer.Argument(help="folder of a run, or an architecture with its ImageNet head")],
    images: Annotated[list[str], typer.Argument(help="image files, or folders of them")],
    backend: Backend = None,
    weights: Annotated[str, typer.Option(help="for an architecture: 'imagenet', an entry or a path")] = "imagenet",
    device: Device = "auto",
    top: Annotated[int, typer.Option(help="how many classes to list", min=1)] = 5,
    tta: Tta = "none",
    config: Config = None,
    json: Json = False,
) -> None:
    """Classify images."""
    from xfer.data import pictures

    settings = read_toml(config)
    with quiet_stdout():
        # A folder among the arguments stands for the pictures in it.
        names = [name for given in images for name in pictures(given).names]
        loaded = open_model(model, backend or settings.get("backend"), device, weights)
        tasks = getattr(loaded, "spec", None) and loaded.spec.tasks  # type: ignore[union-attr]
        by_task = _predictions(loaded, names) if tasks else None
        found = [] if tasks else loaded.predict(names, top=top, tta=tta)
    if by_task is not None:
        if json:
            print_json([{"image": name, **outputs} for name, outputs in zip(names, by_task, strict=True)])
            return
        for name, outputs in zip(names, by_task, strict=True):
            print(f"{printable(name)}: " + ", ".join(f"{task} {_shown(value)}" for task, value in outputs.items()))
        return
    if json:
        print_json(
            [
                {
                    "image": name,
                    "label": prediction.label,
                    "probability": prediction.probability,
                    "top": [{"label": label, "probability": p} for label, p in prediction.top],
                }
                for name, prediction in zip(names, found, strict=True)
            ]
        )
        return
    for name, prediction in zip(names, found, strict=True):
        print(f"{printable(name)}: " + ", ".join(f"{label} {p:.1%}" for label, p in prediction.top))


def _predictions(model: Any, names: list[str]) -> list[dict[str, Any]]:
    """Predictions for each image, by task: probabilities by class or label, or numbers by name."""
    found = model.predict_tasks(names)
    return [
        {task.name: dict(zip(task.classes, found[task.name][i].tolist(), strict=True)) for task in model.spec.tasks}
        for i in range(len(names))
    ]


def _shown(outputs: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in sorted(outputs.items(), key=lambda item: -item[1]))
