"""`xfer.compare`: the same run on every backend, one after the other, and a report."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xfer.errors import UnknownNameError, UsageError, XferError
from xfer.models.backend import ALIASES, registered
from xfer.report.page import render
from xfer.report.thumbnails import MOST, thumbnails
from xfer.runtime.files import write_atomically, writing_into
from xfer.runtime.progress import say, show_progress, step
from xfer.specs.settings import RunSettings
from xfer.workflows.comparison.comparison import Comparison
from xfer.workflows.comparison.runs import read_run
from xfer.workflows.config import run_settings
from xfer.workflows.process import run_worker

DOCUMENT = "compare.json"
PAGE = "report.html"


def compare(
    data: str | os.PathLike[str],
    *,
    model: str = "efficientnet_lite0",
    backends: Sequence[str] = ("torch", "tensorflow"),
    epochs: int = 10,
    out: str | os.PathLike[str] = "comparison",
    progress: bool = True,
    **options: Any,
) -> Comparison:
    """Train the same model on the same data with every backend, each in a fresh process, one after the other.

    Writes the runs into `out/<backend>`, the numbers into `out/compare.json`, and a page with curves, confusion
    matrices, times and disagreements into `out/report.html`.

    Args:
        data: a folder, a manifest or "digits"; it crosses into other processes, so it cannot be an object.
        model: architecture.
        backends: two or more names.
        epochs: of the head on a frozen backbone.
        out: folder of the comparison.
        progress: whether the processes report on stderr.
        options: further keys of `RunSettings`, such as `fine_tune=3` or `batch_size=64`. The precision is "fp32"
            unless it is said here, because "auto" may choose differently on two frameworks.

    Raises:
        UsageError: data, backends or options that cannot be. XferError: a backend failed, in its own words; or the
        report's libraries are missing, before anything is trained.
    """
    if not isinstance(data, (str, os.PathLike)):
        raise UsageError(
            f"compare takes a path or 'digits', not a {type(data).__name__}: it is read in other processes"
        )
    for key in ("backend", "data"):
        if key in options:
            raise UsageError(f"compare has no option {key!r}: give backends=('torch', 'tensorflow')")
    names = _backend_names(backends)
    require_libraries()
    base = run_settings({"precision": "fp32"}, {**options, "data": os.fspath(data), "model": model, "epochs": epochs})
    if base.tasks:
        raise UsageError("compare sets the classes of one task side by side: leave tasks out, or train each by itself")
    configs = [base.model_copy(update={"backend": name, "out": str(Path(out, name))}) for name in names]
    # The first backend's own start shows whether it can run; the others shall not fail an hour later.
    with show_progress(progress):
        for config in configs[1:]:
            run_worker("check", config)
    for config in configs:
        if progress:
            say(f"{config.backend}:")
        run_worker("train", config, progress=progress)
    with show_progress(progress), step("writing the report"):
        return summarise([config.out for config in configs], out)


def summarise(folders: Iterable[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Comparison:
    """Compare runs that are finished, and write `compare.json` and `report.html` into `out`.

    Args:
        folders: of the runs, each of another backend.
        out: an existing folder, or one to make.

    Raises:
        UsageError: fewer than two backends. CheckpointError: a run that is missing or damaged, or an `out` that cannot
        be written. InconsistentRunsError: runs that were not judged by the same images.
    """
    require_libraries()
    runs = [read_run(Path(folder)) for folder in folders]
    _require_several([run.backend for run in runs])
    comparison = Comparison.of(runs)
    shown = [image.name for image in comparison.disagreements[:MOST]]
    page = render(comparison, runs, thumbnails(RunSettings.model_validate(runs[0].metrics["config"]), shown))
    with writing_into(out):
        Path(out).mkdir(parents=True, exist_ok=True)
        write_atomically(Path(out, DOCUMENT), comparison.to_json().encode())
        write_atomically(Path(out, PAGE), page)
    return comparison


def require_libraries(libraries: Sequence[str] = ("matplotlib", "jinja2")) -> None:
    """Assert that what a report is made with is installed.

    Raises:
        XferError: it is not; the message says what to install.
    """
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise XferError(f'the report needs {library}: pip install "xfer-learn[report]"')


def _backend_names(given: Sequence[str]) -> list[str]:
    known = registered()
    names = [ALIASES.get(name, name) for name in ([given] if isinstance(given, str) else given)]
    for name in names:
        if name not in known:
            raise UnknownNameError("backend", name, [*known, *ALIASES])
    _require_several(names)
    return names


def _require_several(names: Sequence[str]) -> None:
    if len(names) < 2 or len(set(names)) < len(names):
        given = ", ".join(names) or "none"
        raise UsageError(f"backends {given}: a comparison needs two or more different ones, such as torch,tensorflow")
