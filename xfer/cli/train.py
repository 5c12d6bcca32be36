"""`xfer train`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from xfer.cli.guard import guarded, print_json, quiet_stdout, show
from xfer.cli.models import metrics_table
from xfer.cli.options import COMMAND, Json, checked, require_data, settings_options
from xfer.runtime.launching import launch
from xfer.runtime.messages import on_stderr
from xfer.specs.settings import RunSettings


@guarded
@settings_options()
def train(
    given: dict[str, Any],
    launcher: Annotated[
        Literal["none", "ray"], typer.Option(help="'ray': in workers of a Ray cluster", rich_help_panel=COMMAND)
    ] = "none",
    restarts: Annotated[
        int,
        typer.Option(
            help="with Ray: how often the workers go on from the last checkpoint after one of them was lost",
            min=0,
            rich_help_panel=COMMAND,
        ),
    ] = 3,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="continue the run in --out with its options; does nothing if it is finished",
            rich_help_panel=COMMAND,
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Train a head on a frozen backbone, fine-tune it if asked, and save the run.

    A run that was interrupted is continued when the same command is given again.
    """
    from xfer.workflows.processes import starts_processes
    from xfer.workflows.results import finished
    from xfer.workflows.resume import options_of
    from xfer.workflows.setup import check_run

    if resume:
        given = options_of(given.get("out", "run")) | given
        require_data(given)
        if (metrics := finished(checked(given))) is not None:
            on_stderr(f"{given.get('out', 'run')} is finished")
            if json:
                print_json(metrics)
            return

    settings = checked(given)
    if launcher == "ray":
        _train_on_ray(settings, settings.processes, resume, restarts, json)
    elif starts_processes(settings):
        check_run(settings)
        job = {"settings": settings.document(), "resume": resume, "json": json}
        launch("xfer.cli.train_worker", job, settings.processes)
    else:
        train_here(settings, resume=resume, json=json)


def train_here(settings: RunSettings, *, resume: bool, json: bool) -> None:
    """Make a run in this process, alone or as one of several, write its page, and print what came out."""
    from xfer.checkpoints.store import publish_run
    from xfer.report.run_page import write_run_page
    from xfer.workflows.run import train as run

    with quiet_stdout():
        result = run(settings, resume=resume)
        page = write_run_page(result)
        publish_run(settings.out)
    if json:
        print_json(result.metrics)
        return
    out, tuned = settings.out, result.metrics["tuned_on_val"]
    table = metrics_table(result.evaluation, f"val ({', '.join(tuned)} tuned on it)" if tuned else "val")
    table.add_row("seconds", f"{result.metrics['seconds']['total']:.1f}")
    show(table)
    if result.test is not None:
        show(metrics_table(result.test, "test"))
    if skipped := result.metrics["data"]["skipped"]:
        print(f"{len(skipped)} files could not be read; metrics.json names them")
    used = {"memory": max(result.metrics["peak_memory_bytes"].values())}
    if (on_device := result.metrics["peak_device_memory_bytes"]) is not None:
        used[f"on {result.model.spec.device}"] = on_device
    peaks = ", ".join(f"{where} {number / 2**30:.2f} GiB" for where, number in used.items())
    print(f"{result.model.spec.precision}, peak {peaks}")
    print(f"{result.model.name} on {result.model.backend.name}: {out}")
    if page is not None:
        print(f"evaluation: {out}/{page.name}")


def _train_on_ray(settings: RunSettings, processes: int, resume: bool, restarts: int, json: bool) -> None:
    from xfer.report.evaluation_page import PAGE
    from xfer.report.run_page import how_to_get
    from xfer.workflows.ray.training import train_on_ray
    from xfer.workflows.results import recorded

    with quiet_stdout():
        out = train_on_ray(settings, processes, resume=resume, restarts=restarts)
        on_stderr(f"no {PAGE} is written by Ray's workers: {how_to_get(out, settings.data)}")
    metrics = recorded(out)
    assert metrics is not None
    if json:
        print_json(metrics)
        return
    print(", ".join(f"val {name} {value:.4f}" for name, value in metrics["val"].items()))
    print(f"{metrics['model']} on {metrics['backend']}, {processes} workers: {out}")
