"""What all commands share: errors in one line, exit codes, and one JSON document on stdout."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import typer

from xfer.errors import UsageError, XferError
from xfer.runtime.ending import tell
from xfer.runtime.messages import on_stderr
from xfer.runtime.progress import show_progress
from xfer.runtime.signals import Interrupted
from xfer.runtime.text import printable as printable

INTERRUPTED = 130


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Exit with 2 for wrong use, 1 for a run that failed, 130 for Ctrl-C, 143 for SIGTERM; one line on stderr each."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold what its encoding cannot say
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            command(*arguments, **options)
        except XferError as error:
            if not tell(error):
                on_stderr(f"error: {printable(str(error))}")
            raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
        except Interrupted as stop:
            kept = f": the same command goes on from {stop.saved}" if stop.saved else ""
            if not tell(stop):
                on_stderr(f"interrupted{kept}")
            raise typer.Exit(128 + stop.number) from None
        except KeyboardInterrupt as stop:
            if not tell(stop):
                on_stderr("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Whoever read has gone; without this the interpreter complains while it flushes stdout at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None

    return run


@contextmanager
def quiet_stdout() -> Iterator[None]:
    """While work is done, its progress and what libraries print go to stderr: stdout holds the result alone."""
    stderr: Any = None if sys.stderr is None else _Stderr()
    with redirect_stdout(stderr), show_progress():
        yield


class _Stderr:
    """Stderr as it is at the moment: a bar puts something in its place, to keep lines apart from the bar."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=1))


def show(table: Any) -> None:
    """A rich table or text on stdout."""
    from rich.console import Console
    from rich.table import Table

    if isinstance(table, Table):
        for column in table.columns:
            if not column.no_wrap:
                column.overflow = "fold"  # in a narrow terminal a name goes on below, and is not cut
    Console().print(table)
