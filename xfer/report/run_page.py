"""The page of a finished run, beside its `metrics.json`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePath

from xfer.report.compare import require_libraries
from xfer.report.evaluation_page import PAGE, Training, render
from xfer.runtime.distributed import launch_environment
from xfer.runtime.files import write_atomically
from xfer.runtime.progress import say
from xfer.runtime.remote import is_remote
from xfer.specs.settings import RunSettings
from xfer.workflows.results import Result


def write_run_page(result: Result) -> Path | None:
    """Write `evaluation.html` into the folder of a run: the evaluation on validation, learning curves, configuration.

    The run is finished and saved. Whatever goes wrong here is said in one line on stderr, and the run stays as it is.

    Returns:
        The page, or None where it was not written; of several processes the main one writes.
    """
    if launch_environment().rank != 0 or result.judged is None:
        return None
    config, path = result.metrics["config"], result.path / PAGE
    try:
        require_libraries()
        page = render(
            result.evaluation,
            result.model,
            result.judged,
            data=PurePath(result.metrics["data"]["source"]).name,
            backend=result.model.backend.name,
            which="validation",
            training=Training(result.metrics),
            batch_size=RunSettings.model_validate(config).images_per_pass,
            cache=config.get("cache", True),
        )
        write_atomically(path, page)
    except (Exception, KeyboardInterrupt) as error:  # the run is saved: it must not look as if it had failed
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        with suppress(OSError):
            path.unlink(missing_ok=True)  # one that is there shows an earlier run
        say(f"{PAGE} was left out ({reason}): {how_to_get(config['out'], config['data'])}")
        return None
    return path


def how_to_get(run: str | Path, data: str) -> str:
    """How the page of an evaluation is made later."""
    folder = "evaluation" if is_remote(run) else Path(run, "evaluation")
    return f"`xfer evaluate {run} {data} --out {folder}` writes one"
