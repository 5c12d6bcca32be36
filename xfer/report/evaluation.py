"""An evaluation as files: metrics, the table of classes, the confusion matrix, two plots, and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path, PurePath
from typing import Any

from xfer.data import Data
from xfer.evaluation.class_report import ClassScores
from xfer.evaluation.evaluate import judged
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.metrics import METRICS
from xfer.evaluation.tasks import TasksEvaluation
from xfer.models.base_model import BaseModel
from xfer.report import plots
from xfer.report.compare import require_libraries
from xfer.report.evaluation_page import PAGE, render
from xfer.runtime.distributed import launch_environment
from xfer.runtime.files import write_atomically, writing_into
from xfer.runtime.paths import expanded
from xfer.workflows.ensemble import Ensemble
from xfer.workflows.results import writable


def evaluation_report(
    model: BaseModel | Ensemble,
    data: Any,
    out: str | Path = "evaluation",
    *,
    split: str | None = None,
    **options: Any,
) -> Evaluation | TasksEvaluation:
    """Evaluate a model, and write what `xfer evaluate --out` writes.

    A page with metrics and their intervals, confusion, curves, the worst mistakes with Grad-CAM, and a map of the
    features, `evaluation.html`; beside it `evaluation.json`, `per_class.csv`, `confusion.csv`, `confusion.png` and
    `reliability.png`; of several tasks `predictions.csv`.

    Args:
        model: or an ensemble, whose page has no map of the features and no Grad-CAM.
        data: a split, or whatever `xfer.data.load` takes; nothing is held out of it.
        out: folder, made if need be.
        split: "train", "val" or "test" of data that has several, or "all" of it.
        options: `batch_size`, `workers`, `on_bad`, `tta`, `cache`, as `xfer.evaluation.evaluate.evaluate`.

    Raises:
        XferError: the report's libraries are missing, before anything is evaluated. CheckpointError: the folder cannot
        be written into. Others as `evaluate`.
    """
    require_libraries()
    folder = writable(expanded(out))
    source = judged(_models(model), data, split)
    found: Evaluation | TasksEvaluation = model.evaluate(source, **options)
    if launch_environment().rank == 0:
        shown = {name: options[name] for name in ("batch_size", "cache") if name in options}
        judgement = document(found, backend_names(model)) | ({} if split is None else {"split": split})
        write(found, model, source, judgement, folder, **shown)
    return found


def backend_names(model: BaseModel | Ensemble) -> str:
    """The backend of a model, or those of the members of an ensemble."""
    return ", ".join(dict.fromkeys(each.backend.name for each in _models(model)))


def _models(model: BaseModel | Ensemble) -> list[BaseModel]:
    return [member.model for member in model.members] if isinstance(model, Ensemble) else [model]


def document(evaluation: Evaluation | TasksEvaluation, backend: str) -> dict[str, Any]:
    """What `xfer evaluate --json` prints: the metrics by name, which of them are undefined, and what was judged."""
    several = isinstance(evaluation, TasksEvaluation)
    return {
        **evaluation.metrics,
        "undefined": [] if several else [n for n in METRICS if n not in (*evaluation.metrics, "top5_accuracy")],
        "images": len(evaluation.names),
        "skipped": [asdict(bad) for bad in evaluation.skipped],
        "backend": backend,
    }


def write(
    evaluation: Evaluation | TasksEvaluation,
    model: BaseModel | Ensemble,
    data: Data,
    judgement: dict[str, Any],
    folder: Path,
    **options: Any,
) -> None:
    """Write evaluation.json, evaluation.html, per_class.csv, confusion.csv, confusion.png and reliability.png.

    Of several tasks, evaluation.json, evaluation.html and predictions.csv.

    Args:
        evaluation: what to write.
        model: that was evaluated.
        data: of one split, on whose images it was.
        judgement: the `document` of the evaluation.
        folder: that exists.
        options: `batch_size` and `cache` of the map of the features.

    Raises:
        XferError: the report's libraries are missing. CheckpointError: the folder cannot be written into.
    """
    require_libraries()
    page = render(
        evaluation,
        model,
        data.train,
        data=PurePath(data.source).name,
        backend=judgement["backend"],
        which=judgement.get("split", ""),
        **options,
    )
    contents = {"evaluation.json": json.dumps(judgement, indent=1).encode(), PAGE: page}
    contents |= {} if isinstance(evaluation, TasksEvaluation) else _tables(evaluation)
    with writing_into(folder):
        for name, content in contents.items():
            write_atomically(folder / name, content)
        if isinstance(evaluation, TasksEvaluation):
            evaluation.write_csv(folder / "predictions.csv")


def _tables(evaluation: Evaluation) -> dict[str, bytes]:
    confusion = evaluation.confusion
    counts = ([name, *row] for name, row in zip(evaluation.classes, confusion.tolist(), strict=True))
    return {
        "per_class.csv": _csv([field.name for field in fields(ClassScores)], map(astuple, evaluation.per_class())),
        "confusion.csv": _csv(["true \\ predicted", *evaluation.classes], counts),
        "confusion.png": plots.confusion(confusion, evaluation.classes),
        "reliability.png": plots.reliability(evaluation.reliability()),
    }


def _csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(header)
    out.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
