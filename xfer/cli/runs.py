"""Commands that train, judge and use models."""

from __future__ import annotations

import sys
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xfer.cli.guard import guarded, print_json, printable, quiet_stdout, show
from xfer.cli.options import Config, Json, checked, require_data, train_options
from xfer.workflows.config import read_toml

if TYPE_CHECKING:
    from rich.table import Table

    from xfer.evaluation.evaluation import Evaluation
    from xfer.evaluation.tasks import TasksEvaluation
    from xfer.models.base_model import BaseModel
    from xfer.workflows.ensemble import Ensemble

Backend = Annotated[str | None, typer.Option(help="torch or tensorflow; default: the run's own, else the first there")]
OnBad = Annotated[Literal["report", "raise", "impute"] | None, typer.Option(help="images that cannot be read")]
Tta = Annotated[str, typer.Option(help="mean over views of an image: none, flip, five-crop or ten-crop")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, gpu:0 or mps")]

# About two minutes on two cores, most of it the fine-tuning.
DEMO = {
    "data": "digits",
    "model": "efficientnet_lite0",
    "image_size": 96,
    "epochs": 3,
    "fine_tune": 4,
    "unfreeze": 3,
    "lr": 3e-3,
    "schedule": "cosine",
}


@guarded
@train_options()
def train(
    given: dict[str, Any],
    launcher: Annotated[Literal["none", "ray"], typer.Option(help="ray: in workers of a Ray cluster")] = "none",
    processes: Annotated[int, typer.Option(help="workers of the launcher", min=1)] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="with the options of the run in --out; nothing where it is finished")
    ] = False,
    json: Json = False,
) -> None:
    """Train a head on a frozen backbone, fine-tune if asked, and write the run.

    A run that was interrupted goes on when the same command is given again.
    """
    from xfer.workflows.results import METRICS, finished
    from xfer.workflows.resume import options_of
    from xfer.workflows.run import train as run

    if resume:
        given = options_of(given.get("out", "run")) | given
        require_data(given)
        if (metrics := finished(checked(given))) is not None:
            print(f"{given.get('out', 'run')} is finished", file=sys.stderr)
            if json:
                print_json(metrics)
            return

    if launcher == "ray":
        from xfer.workflows.ray import train_on_ray

        with quiet_stdout():
            out = train_on_ray(checked(given), processes, resume=resume)
        metrics = loads((out / METRICS).read_text())
        if json:
            print_json(metrics)
            return
        print(", ".join(f"val {name} {value:.4f}" for name, value in metrics["val"].items()))
        print(f"{metrics['model']} on {metrics['backend']}, {processes} workers: {out}")
        return
    with quiet_stdout():
        result = run(checked(given), resume=resume)
    if json:
        print_json(result.metrics)
        return
    table = _metrics_table(result.evaluation, "val")
    table.add_row("seconds", f"{result.metrics['seconds']['total']:.1f}")
    show(table)
    if skipped := result.metrics["data"]["skipped"]:
        print(f"{len(skipped)} files could not be read; metrics.json names them")
    used = {"memory": max(result.metrics["peak_memory_bytes"].values())}
    if (on_device := result.metrics["peak_device_memory_bytes"]) is not None:
        used[f"on {result.model.spec.device}"] = on_device
    peaks = ", ".join(f"{where} {number / 2**30:.2f} GiB" for where, number in used.items())
    print(f"{result.model.spec.precision}, peak {peaks}")
    print(f"{result.model.name} on {result.model.backend.name}: {result.path}")


@guarded
def evaluate(
    run: Annotated[str, typer.Argument(help="folder of a run")],
    data: Annotated[str | None, typer.Argument(help="folder, manifest, or 'digits'")] = None,
    backend: Backend = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="images a forward pass", min=1)] = 32,
    tta: Tta = "none",
    on_bad: OnBad = None,
    cache: Annotated[bool | None, typer.Option(help="read outputs of frozen blocks that training kept")] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for evaluation.json, per_class.csv, confusion.csv and plots (.png)")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Judge a run, or an ensemble of runs, on the validation split of a data set."""
    from xfer.report.evaluation import document, require_plots, write
    from xfer.runtime.distributed import launch_environment
    from xfer.workflows.results import writable
    from xfer.workflows.setup import read_data

    settings = read_toml(config) if config else {}
    with quiet_stdout():
        require_data(settings, data)
        if out is not None:
            require_plots()
            writable(out)
        model = _open(run, backend or settings.get("backend"), device)
        described = checked(settings, data=data, on_bad=on_bad, cache=cache, **_asks(model))
        source = read_data(described)
        result = model.evaluate(source, batch_size=batch_size, on_bad=described.on_bad, tta=tta, cache=described.cache)
        judged = document(result, _where(model))
        if out is not None and launch_environment().rank == 0:
            write(result, judged, out)
    if json:
        print_json(judged)
        return
    show(_metrics_table(result, f"{model.name} on {_where(model)}"))
    if out is not None:
        print(f"details: {out}")
    if result.skipped:
        print(f"{len(result.skipped)} files could not be read; --json names them")


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
    """Say what is in pictures."""
    from xfer.data import pictures

    settings = read_toml(config) if config else {}
    with quiet_stdout():
        # A folder among the arguments stands for the pictures in it.
        names = [name for given in images for name in pictures(given).names]
        loaded = _open(model, backend or settings.get("backend"), device, weights)
        tasks = getattr(loaded, "spec", None) and loaded.spec.tasks  # type: ignore[union-attr]
        answers = _answers(loaded, names) if tasks else None
        found = [] if tasks else loaded.predict(names, top=top, tta=tta)
    if answers is not None:
        if json:
            print_json([{"image": name, **answer} for name, answer in zip(names, answers, strict=True)])
            return
        for name, answer in zip(names, answers, strict=True):
            print(f"{printable(name)}: " + ", ".join(f"{task} {_shown(value)}" for task, value in answer.items()))
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


@guarded
def ensemble(
    runs: Annotated[list[str], typer.Argument(help="folders of runs on the same classes, of any framework")],
    out: Annotated[Path, typer.Option(help="folder of the ensemble")] = Path("ensemble"),
    vote: Annotated[str | None, typer.Option(help="data on whose validation split to choose the weights")] = None,
    device: Device = "auto",
    config: Config = None,
) -> None:
    """Make one model of several runs by averaging their probabilities."""
    from xfer.workflows.ensemble import Ensemble, load_members
    from xfer.workflows.setup import read_data

    settings = read_toml(config) if config else {}
    with quiet_stdout():
        made = Ensemble(load_members(runs, device=device))
        if vote is not None:
            made = made.vote(read_data(checked(settings, data=vote)))
        made.save(out)
    for name, weight in zip(runs, made.weights, strict=True):
        print(f"{weight:.3f}  {name}")
    print(f"ensemble: {out}")


@guarded
def soup(
    runs: Annotated[list[str], typer.Argument(help="folders of runs of one architecture")],
    data: Annotated[str, typer.Option(help="folder, manifest, or 'digits', to choose by its validation split")],
    out: Annotated[Path, typer.Option(help="folder of the new run")] = Path("soup"),
    metric: Annotated[str, typer.Option(help="of `xfer evaluate`")] = "accuracy",
    backend: Backend = None,
    config: Config = None,
) -> None:
    """Make one run of several by averaging weights, greedily, as long as the metric gets no worse."""
    from xfer.workflows.setup import read_data
    from xfer.workflows.soup import soup as cook

    settings = read_toml(config) if config else {}
    with quiet_stdout():
        source = read_data(checked(settings, data=data))
        made, chosen = cook(runs, source, metric_name=metric, backend=backend or settings.get("backend"))
        made.save(out)
    print("in the soup: " + ", ".join(runs[i] for i in chosen))
    print(f"run: {out}")


@guarded
@train_options(without=("backend", "out"))
def compare(
    given: dict[str, Any],
    backends: Annotated[str, typer.Option(help="names with commas between")] = "torch,tensorflow",
    out: Annotated[Path, typer.Option(help="folder of the comparison")] = Path("comparison"),
    json: Json = False,
) -> None:
    """The same run on several frameworks, each in its own process; a table, compare.json and report.html."""
    settings = {key: value for key, value in given.items() if key not in ("backend", "backends", "out")}
    _compare(settings, str(given.get("backends", backends)).split(","), out, json)


@guarded
def demo(
    out: Annotated[Path, typer.Option(help="folder of the comparison")] = Path("demo"), json: Json = False
) -> None:
    """Real handwriting, real ImageNet weights, both frameworks: about two minutes on two cores."""
    _compare(DEMO, ["torch", "tensorflow"], out, json)


def _compare(settings: dict[str, Any], backends: list[str], out: Path, as_json: bool) -> None:
    import json

    from xfer.report.compare import compare as run

    require_data(settings)
    with quiet_stdout():
        comparison = run(backends=[name.strip() for name in backends], out=str(out), **settings)
    if as_json:
        print_json(json.loads(comparison.to_json()))
        return
    show(comparison.table())
    print(f"report: {out / 'report.html'}")


def _open(run: str, backend: str | None, device: str, weights: str = "imagenet") -> BaseModel | Ensemble:
    from xfer.models.factory import load
    from xfer.workflows.ensemble import Ensemble
    from xfer.workflows.ensemble_files import is_ensemble

    if is_ensemble(run):
        return Ensemble.load(run, device=device)
    return load(run, backend=backend, weights=weights, device=device)


def _answers(model: Any, names: list[str]) -> list[dict[str, Any]]:
    """What the model says of each image, by task: probabilities by class or label, or numbers by name."""
    found = model.predict_tasks(names)
    return [
        {task.name: dict(zip(task.classes, found[task.name][i].tolist(), strict=True)) for task in model.spec.tasks}
        for i in range(len(names))
    ]


def _shown(answer: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in sorted(answer.items(), key=lambda item: -item[1]))


def _asks(model: BaseModel | Ensemble) -> dict[str, Any]:
    """What a table must be read with, if the model asks for columns or has several tasks."""
    spec = getattr(model, "spec", None)
    if spec is None or not (model.columns or spec.tasks):  # type: ignore[union-attr]
        return {}
    columns = model.columns.names if model.columns else ()  # type: ignore[union-attr]
    return {"columns": columns, "tasks": {task.name: task.kind for task in spec.tasks}}


def _where(model: BaseModel | Ensemble) -> str:
    members = getattr(model, "members", None)
    names = [model.backend.name] if members is None else [m.model.backend.name for m in members]  # type: ignore[union-attr]
    return ", ".join(dict.fromkeys(names))


def _metrics_table(evaluation: Evaluation | TasksEvaluation, title: str) -> Table:
    from rich.table import Table

    from xfer.evaluation.metrics import METRICS
    from xfer.evaluation.tasks import TasksEvaluation

    table = Table("", title)
    for name in evaluation.metrics if isinstance(evaluation, TasksEvaluation) else METRICS:
        table.add_row(name, f"{evaluation.metrics[name]:.4f}" if name in evaluation.metrics else "undefined")
    table.add_row("images", str(len(evaluation.names)))
    return table
