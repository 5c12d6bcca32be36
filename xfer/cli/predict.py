"""`xfer predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from xfer.cli.arguments import Backend, Device, Tta
from xfer.cli.guard import guarded, print_json, printable, quiet_stdout
from xfer.cli.models import open_model
from xfer.cli.options import Config, Json
from xfer.workflows.config import read_toml

if TYPE_CHECKING:
    from xfer.models.predictions import Prediction


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
    from xfer.errors import UnreadableError

    settings = read_toml(config)
    with quiet_stdout():
        # A folder among the arguments stands for the pictures in it.
        names = [name for given in images for name in pictures(given).names]
        loaded = open_model(model, backend or settings.get("backend"), device, weights)
        tasks = getattr(loaded, "spec", None) and loaded.spec.tasks  # type: ignore[union-attr]
        failed: UnreadableError | None = None
        try:
            found = _by_task(loaded, names) if tasks else loaded.predict(names, top=top, tta=tta)
        except UnreadableError as error:
            found, failed = error.predictions, error
    answers = list(zip(names, found, strict=True)) if found else []
    if json:
        print_json([{"image": name, **_document(answer)} for name, answer in answers])
    else:
        for name, answer in answers:
            if answer is not None:
                print(f"{printable(name)}: {_line(answer)}")
    if failed is not None:  # after the answers for the others
        raise failed


def _document(answer: Prediction | dict[str, Any] | None) -> dict[str, Any]:
    if answer is None:
        return {"label": None, "probability": None, "top": []}
    if isinstance(answer, dict):
        return answer
    top = [{"label": label, "probability": p} for label, p in answer.top]
    return {"label": answer.label, "probability": answer.probability, "top": top}


def _line(answer: Prediction | dict[str, Any]) -> str:
    if isinstance(answer, dict):
        return ", ".join(f"{task} {_shown(value)}" for task, value in answer.items())
    return ", ".join(f"{label} {p:.1%}" for label, p in answer.top)


def _by_task(model: Any, names: list[str]) -> list[Any]:
    """Predictions for each image, by task: probabilities by class or label, or numbers by name."""
    found = model.predict_tasks(names)
    return [
        {task.name: dict(zip(task.classes, found[task.name][i].tolist(), strict=True)) for task in model.spec.tasks}
        for i in range(len(names))
    ]


def _shown(outputs: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in sorted(outputs.items(), key=lambda item: -item[1]))
