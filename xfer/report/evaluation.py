"""An evaluation as files: metrics, the table of classes, the confusion matrix, and two plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Any

from xfer.errors import CheckpointError
from xfer.evaluation.class_report import ClassScores
from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.metrics import METRICS
from xfer.evaluation.tasks import TasksEvaluation
from xfer.report import plots
from xfer.report.compare import require_libraries
from xfer.runtime.files import write_atomically


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


def require_plots() -> None:
    """Assert that what the plots are drawn with is installed.

    Raises:
        XferError: it is not; the message names the extra.
    """
    require_libraries(["matplotlib"])


def write(evaluation: Evaluation | TasksEvaluation, judged: dict[str, Any], folder: Path) -> None:
    """Write evaluation.json, per_class.csv, confusion.csv, confusion.png and reliability.png.

    Of several tasks, evaluation.json and predictions.csv.

    Args:
        evaluation: what to write.
        judged: its `document`.
        folder: that exists.

    Raises:
        XferError: matplotlib is missing. CheckpointError: the folder cannot be written into.
    """
    if isinstance(evaluation, TasksEvaluation):
        write_atomically(folder / "evaluation.json", json.dumps(judged, indent=1).encode())
        evaluation.write_csv(folder / "predictions.csv")
        return
    require_plots()
    confusion = evaluation.confusion
    counts = ([name, *row] for name, row in zip(evaluation.classes, confusion.tolist(), strict=True))
    contents = {
        "evaluation.json": json.dumps(judged, indent=1).encode(),
        "per_class.csv": _csv([field.name for field in fields(ClassScores)], map(astuple, evaluation.per_class())),
        "confusion.csv": _csv(["true \\ predicted", *evaluation.classes], counts),
        "confusion.png": plots.confusion(confusion, evaluation.classes),
        "reliability.png": plots.reliability(evaluation.reliability()),
    }
    try:
        for name, content in contents.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise CheckpointError(f"cannot write into {folder}: {error.strerror}; give another --out") from None


def _csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(header)
    out.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
