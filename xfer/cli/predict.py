"""`xfer predict`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xfer.cli.arguments import Backend, Device, Tta
from xfer.cli.guard import guarded, print_json, printable, quiet_stdout
from xfer.cli.models import open_model
from xfer.cli.options import Config, Json
from xfer.workflows.config import read_toml

if TYPE_CHECKING:
    from xfer.models.predictions import Prediction
    from xfer.specs.tasks import Task


@guarded
def predict(
    model: Annotated[str, typer.Argument(help="folder of a run, hf://owner/repo, or an architecture (ImageNet head)")],
    images: Annotated[list[str], typer.Argument(help="image files, or folders of them")],
    backend: Backend = None,
    weights: Annotated[
        str, typer.Option(help="for an architecture: 'imagenet', an entry, a path, or hf://owner/repo")
    ] = "imagenet",
    device: Device = "auto",
    top: Annotated[int, typer.Option(help="how many classes to list", min=1)] = 5,
    tta: Tta = "none",
    config: Config = None,
    json: Json = False,
) -> None:
    """Classify images."""
    from xfer.data import pictures
    from xfer.errors import UnreadableError
    from xfer.models.base_model import BaseModel

    settings = read_toml(config)
    with quiet_stdout():
        # A folder among the arguments stands for the pictures in it.
        names = [name for given in images for name in pictures(given).names]
        loaded = open_model(model, backend or settings.get("backend"), device, weights)
        tasks = loaded.spec.tasks if isinstance(loaded, BaseModel) else ()
        failed: UnreadableError | None = None
        found: Any
        try:
            found = loaded.predict_tasks(names) if tasks else loaded.predict(names, top=top, tta=tta)  # type: ignore[union-attr]
        except UnreadableError as error:
            found, failed = error.answers if tasks else error.predictions, error
    answers = list(zip(names, _by_task(tasks, found, len(names)) if tasks else found, strict=True))
    if json:
        nothing: dict[str, Any] = dict.fromkeys(task.name for task in tasks)
        nothing = nothing or {"label": None, "probability": None, "top": []}
        print_json([{"image": name, **(_document(answer) if answer else nothing)} for name, answer in answers])
    else:
        for name, answer in answers:
            if answer is not None:
                print(f"{printable(name)}: {_line(answer)}")
    if failed is not None:  # after the answers for the others
        raise failed


def _document(answer: Prediction | dict[str, Any]) -> dict[str, Any]:
    if isinstance(answer, dict):
        return answer
    top = [{"label": label, "probability": p} for label, p in answer.top]
    return {"label": answer.label, "probability": answer.probability, "top": top}


def _line(answer: Prediction | dict[str, Any]) -> str:
    if isinstance(answer, dict):
        return ", ".join(f"{task} {_shown(value)}" for task, value in answer.items())
    return ", ".join(f"{label} {p:.1%}" for label, p in answer.top)


def _by_task(tasks: Sequence[Task], found: Mapping[str, Any], images: int) -> list[dict[str, Any] | None]:
    """Predictions for each image, by task: probabilities by class or label, or numbers by name; None for no answer."""
    rows = [{task.name: found[task.name][i].tolist() for task in tasks} for i in range(images)]
    return [
        None
        if any(math.isnan(value) for values in row.values() for value in values)  # an answer is always finite
        else {task.name: dict(zip(task.classes, row[task.name], strict=True)) for task in tasks}
        for row in rows
    ]


def _shown(outputs: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in sorted(outputs.items(), key=lambda item: -item[1]))
