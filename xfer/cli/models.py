"""Opening models for commands, and showing their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from xfer.evaluation.evaluation import Evaluation
    from xfer.evaluation.tasks import TasksEvaluation
    from xfer.models.base_model import BaseModel
    from xfer.workflows.ensemble import Ensemble


def open_model(run: str, backend: str | None, device: str, weights: str = "imagenet") -> BaseModel | Ensemble:
    """The model of a run, an ensemble, or an architecture."""
    from xfer.workflows.opening import Opening

    return Opening(run, backend, device, weights)()


def local_run(run: str) -> str:
    """The folder of a run; of one on the hub or under a URL, that in the cache, into which it is downloaded."""
    from xfer.checkpoints.checkpoint import open_checkpoint
    from xfer.runtime.remote import is_remote
    from xfer.weights.hub import is_hub

    return str(open_checkpoint(run).path) if is_hub(run) or is_remote(run) else run


def metrics_table(evaluation: Evaluation | TasksEvaluation, title: str, which: str = "") -> Table:
    """The metrics of an evaluation as a table; `which` says which images were judged."""
    from rich.table import Table

    from xfer.evaluation.metrics import METRICS
    from xfer.evaluation.tasks import TasksEvaluation

    table = Table("", title)
    for name in evaluation.metrics if isinstance(evaluation, TasksEvaluation) else METRICS:
        if name == "top5_accuracy" and name not in evaluation.metrics:  # of five classes or fewer
            continue
        table.add_row(name, f"{evaluation.metrics[name]:.4f}" if name in evaluation.metrics else "undefined")
    table.add_row("images", f"{len(evaluation.names)}{which and f' ({which})'}")
    return table
