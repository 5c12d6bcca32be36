"""`xfer predict`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xfer.cli.arguments import Backend, Device, Launcher, Processes, Tta
from xfer.cli.guard import guarded, print_json, printable, quiet_stdout
from xfer.cli.options import Config, Json
from xfer.errors import UnreadableError, UsageError
from xfer.runtime.messages import Messages, on_stderr
from xfer.runtime.progress import show_progress
from xfer.workflows.config import read_toml

if TYPE_CHECKING:
    from xfer.data import Split
    from xfer.models.predictor import Predictor
    from xfer.workflows.prediction.job import PredictionJob
    from xfer.workflows.prediction.maker import PredictionOptions
    from xfer.workflows.prediction.record import Finished


@guarded
def predict(
    model: Annotated[str, typer.Argument(help="folder of a run, hf://owner/repo, or an architecture (ImageNet head)")],
    images: Annotated[
        list[str],
        typer.Argument(help="image files, folders, tables (.csv, .tsv, .parquet), or text files with a path a line"),
    ],
    backend: Backend = None,
    weights: Annotated[
        str, typer.Option(help="for an architecture: 'imagenet', an entry, a path, or hf://owner/repo")
    ] = "imagenet",
    device: Device = "auto",
    top: Annotated[int, typer.Option(help="how many classes to list", min=1)] = 5,
    tta: Tta = "none",
    batch_size: Annotated[
        str, typer.Option(help="images a forward pass; 'auto': 32 on the CPU, else what fits into memory, at most 256")
    ] = "32",
    out: Annotated[
        Path | None, typer.Option(help="a table to write: .csv, .jsonl or .parquet; the same command continues it")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="with --out: a column for the probability of each class")
    ] = False,
    launcher: Launcher = "none",
    processes: Processes = 1,
    config: Config = None,
    json: Json = False,
) -> None:
    """Classify images."""
    from xfer.data.sources.lists import listed
    from xfer.data.sources.paths import existing
    from xfer.workflows.opening import Opening
    from xfer.workflows.prediction.job import PredictionJob
    from xfer.workflows.prediction.maker import InProcess, PredictionOptions
    from xfer.workflows.ray.prediction import predicting

    if probabilities and out is None:
        raise UsageError("the probabilities of all classes are columns of a table: give --out")
    if launcher == "ray" and out is None:
        raise UsageError("launcher ray writes a table: give --out")
    settings = read_toml(config)
    options = PredictionOptions(top, probabilities, _batch_size(batch_size), tta)
    opening = Opening(model, backend or settings.get("backend"), device, weights)
    with quiet_stdout():
        paths = [existing(name) for name in images]  # before the model is loaded
        job = None if out is None else PredictionJob(out)
        if job is None:
            loaded = opening()
            split = listed(paths, loaded.column_names)
        else:
            ray = launcher == "ray"
            with predicting(opening, processes) if ray else nullcontext(InProcess(opening())) as maker:
                finished, before = job.run(maker, listed(paths, maker.column_names()), options)
    if job is None:
        _print(loaded, split, options, json)
    else:
        _say_written(job, finished, before, json)


def _print(model: Predictor, split: Split, options: PredictionOptions, json: bool) -> None:
    """Predictions on stdout; then an error over the images that cannot be read."""
    from xfer.data import Skipped
    from xfer.workflows.prediction.maker import images_a_pass

    nothing: dict[str, Any] = dict.fromkeys(task.name for task in model.tasks)
    nothing = nothing or {"label": None, "probability": None, "top": []}
    documents, reasons = [], {}
    with quiet_stdout():
        size = images_a_pass(model, options.batch_size)
        found = model.predict_iter(split, top=options.top, batch_size=size, tta=options.tta)
    shown = json or not Messages(sys.stdout).isatty()  # in a terminal the lines themselves are the progress
    with show_progress(shown):
        for name, prediction in zip(split.names, _quietly(found), strict=True):
            unreadable = isinstance(prediction, Skipped)
            if unreadable:
                reasons[name] = prediction.reason
            if json:
                documents.append({"image": name, **(nothing if unreadable else _document(prediction))})
            elif not unreadable:
                print(f"{printable(name)}: {_line(prediction)}")
    if json:
        print_json(documents)
    if reasons:
        raise UnreadableError(reasons, None)


def _say_written(job: PredictionJob, finished: Finished, before: bool, json: bool) -> None:
    if before:
        on_stderr(f"{job.out} is finished")
    if json:
        print_json({"out": str(job.out), "images": finished.images, "unreadable": finished.unreadable})
        return
    print(f"{finished.images:,} images: {printable(str(job.out))}")
    if finished.unreadable:
        print(f"{finished.unreadable:,} images cannot be read; the column 'error' says why")


def _batch_size(given: str) -> int | Literal["auto"]:
    if given == "auto":
        return "auto"
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"--batch-size {given}: give a number of images, 1 or more, or auto")
    return int(given)


def _quietly(predictions: Iterator[Any]) -> Iterator[Any]:
    """What libraries print while the next prediction is made goes to stderr."""
    end = object()
    while True:
        with quiet_stdout():
            found = next(predictions, end)
        if found is end:
            return
        yield found


def _document(prediction: Any) -> dict[str, Any]:
    if isinstance(prediction, dict):
        return prediction
    top = [{"label": label, "probability": p} for label, p in prediction.top]
    return {"label": prediction.label, "probability": prediction.probability, "top": top}


def _line(prediction: Any) -> str:
    if isinstance(prediction, dict):
        return ", ".join(f"{task} {_shown(outputs)}" for task, outputs in prediction.items())
    return ", ".join(f"{label} {p:.1%}" for label, p in prediction.top)


def _shown(outputs: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in sorted(outputs.items(), key=lambda item: -item[1]))
