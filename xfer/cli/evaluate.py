"""`xfer evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xfer.cli.arguments import Backend, Corrections, Device, Launcher, OnBad, Processes, Split, Tta
from xfer.cli.guard import guarded, print_json, quiet_stdout, show
from xfer.cli.models import local_run, metrics_table
from xfer.cli.options import Config, Json, checked, require_data
from xfer.workflows.config import read_toml


@guarded
def evaluate(
    run: Annotated[str, typer.Argument(help="folder of a run, or hf://owner/repo")],
    data: Annotated[str | None, typer.Argument(help="folder, manifest, or 'digits'")] = None,
    split: Split = None,
    backend: Backend = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="images a forward pass", min=1)] = 32,
    tta: Tta = "none",
    on_bad: OnBad = None,
    cache: Annotated[bool | None, typer.Option(help="read cached outputs of frozen blocks")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="folder for a page (evaluation.html), evaluation.json, tables (.csv), plots (.png)"),
    ] = None,
    corrections: Corrections = None,
    launcher: Launcher = "none",
    processes: Processes = 1,
    config: Config = None,
    json: Json = False,
) -> None:
    """Evaluate a run, or an ensemble of runs, on all images of a data set, or on one split of it."""
    from xfer.report.compare import require_libraries
    from xfer.report.evaluation import backend_names, document, write
    from xfer.report.evaluation_page import PAGE
    from xfer.runtime.distributed import launch_environment
    from xfer.workflows.judged import judged_data
    from xfer.workflows.opening import Opening
    from xfer.workflows.ray.evaluation import evaluate_on_ray
    from xfer.workflows.results import writable
    from xfer.workflows.setup import table_options

    settings = read_toml(config)
    with quiet_stdout():
        require_data(settings, data)
        if out is not None:
            require_libraries()
            writable(out)
        run = local_run(run)
        opening = Opening(run, backend or settings.get("backend"), device)
        model = opening()
        described = checked(
            settings, data=data, on_bad=on_bad, cache=cache, corrections=corrections, **table_options(model)
        )
        source, which = judged_data(described, run, split)
        options: dict[str, Any] = {"batch_size": batch_size, "on_bad": described.on_bad, "tta": tta}
        if launcher == "ray":
            result = evaluate_on_ray(opening, model, source, processes, **options)
        else:
            result = model.evaluate(source, cache=described.cache, **options)
        found = document(result, backend_names(model)) | {"split": which}
        if out is not None and launch_environment().rank == 0:
            write(result, model, source, found, out, batch_size=batch_size, cache=described.cache)
    if json:
        print_json(found)
        return
    show(metrics_table(result, f"{model.name} on {backend_names(model)}", which))
    if out is not None:
        print(f"details: {out / PAGE}")
    if result.skipped:
        print(f"{len(result.skipped)} files could not be read; --json names them")
