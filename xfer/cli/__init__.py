"""The command line: parse, call the API, print."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The entry point `xfer`."""
    from xfer.cli.app import app
    from xfer.errors import UsageError
    from xfer.runtime.distributed import launch_environment
    from xfer.runtime.malloc import keep_pages
    from xfer.runtime.messages import on_stderr
    from xfer.runtime.openmp import spin_briefly

    if sys.stderr is None:  # closed: a file that is opened next would take its descriptor, and what libraries print
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        launch = launch_environment()
    except UsageError as error:
        on_stderr(f"error: {error}")
        sys.exit(2)
    if launch.rank:  # of several processes of one run, the first speaks
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    keep_pages()
    spin_briefly()
    app(args=with_default_epochs(sys.argv[1:]), prog_name="xfer")


def with_default_epochs(arguments: list[str]) -> list[str]:
    """`--fine-tune` may stand without a number, and means 5 epochs then."""
    done: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        done.append(argument)
        if argument == "--fine-tune" and not following.isdigit():
            done.append("5")
    return done
