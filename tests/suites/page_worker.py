"""Runs blocks of pages, one page after the other: reads a job a line from stdin, answers with its traceback or ""."""

import json
import os
import shlex
import sys
import time
import traceback
from contextlib import chdir, redirect_stdout


def main() -> None:
    """Work until stdin ends. What the blocks print goes to stderr, which the tests capture."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    namespaces: dict[str, dict] = {}
    for line in sys.stdin:
        job = json.loads(line)
        started = time.process_time()
        space = namespaces.setdefault(job["folder"], {"__name__": "__main__"})
        try:
            with chdir(job["folder"]), redirect_stdout(sys.stderr):
                for language, text, start in job["blocks"]:
                    run(language, text, start, job["page"], space)
            answer = ""
        except BaseException:
            answer = traceback.format_exc()
        print(f"{job['page']}: {time.process_time() - started:.1f} s of processor time", file=sys.stderr, flush=True)
        print(json.dumps(answer), file=answers, flush=True)


def run(language: str, text: str, start: int, page: str, space: dict) -> None:
    """One block of Python, or one command of xfer, which must end with 0."""
    if language == "python":
        exec(compile("\n" * (start - 1) + text, page, "exec"), space)
        return
    from xfer.cli import with_default_epochs
    from xfer.cli.app import app

    try:
        app(args=with_default_epochs(shlex.split(text)[1:]), prog_name="xfer")
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{page}, line {start}: {text!r} ended with {end.code}") from None


if __name__ == "__main__":
    main()
