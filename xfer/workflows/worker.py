"""The fresh process of a job: JSON on stdin, JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import TextIO

from xfer.errors import UnknownNameError, XferError
from xfer.models.backend import get_backend
from xfer.runtime.ending import end_with_parent, tell
from xfer.runtime.malloc import keep_pages
from xfer.runtime.openmp import spin_briefly
from xfer.specs.settings import RunSettings
from xfer.workflows.run import train
from xfer.zoo import card


def main() -> int:
    """Do the job; an `XferError` becomes the answer, anything else a traceback on stderr."""
    end_with_parent()
    keep_pages()
    spin_briefly()
    answers = _take_stdout()
    job = json.load(sys.stdin)
    config = RunSettings.model_validate(job["config"])
    error = None
    try:
        if job["do"] == "check":
            check(config)
        else:
            train(config, progress=job["progress"], resume=job.get("resume", False))
    except XferError as caught:
        if tell(caught):  # one of several
            return 1
        error = str(caught)
    except KeyboardInterrupt as stop:
        tell(stop)
        return 128 + 2
    with answers:
        json.dump({"error": error}, answers)
    return 0


def check(config: RunSettings) -> None:
    """Find out in seconds whether a backend could run this at all.

    Raises:
        XferError: its framework, the device or the model is missing.
    """
    assert config.backend is not None
    backend = get_backend(config.backend)
    backend.resolve_device(config.device)
    model = card(config.model).name
    if model not in backend.architectures():
        raise UnknownNameError(f"model of backend {backend.name!r}", model, backend.architectures())


def _take_stdout() -> TextIO:
    """Keep stdout for the answer, and send to stderr what frameworks print there."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    sys.exit(main())
