"""One of the processes that `xfer train --processes` starts: the run as JSON on stdin."""

from __future__ import annotations

import json
import sys

import typer

from xfer.cli.guard import guarded
from xfer.cli.train import train_here
from xfer.runtime.ending import end_with_parent
from xfer.runtime.malloc import keep_pages
from xfer.specs.settings import RunSettings


def main() -> int:
    """Make the run; the exit code."""
    end_with_parent()
    keep_pages()
    job = json.load(sys.stdin)
    settings = RunSettings.model_validate(job["settings"])
    try:
        guarded(train_here)(settings, resume=job["resume"], json=job["json"])
    except typer.Exit as end:
        return int(end.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
