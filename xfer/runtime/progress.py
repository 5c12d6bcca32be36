"""Progress of long work on stderr, for whoever has asked for it: `with xfer.show_progress(): ...`.

Whatever passes over many images, or waits for long, says so by `work` or `step`, however deep it is called. Nothing is
shown unless the command line, `Trainer(progress=True)` or a `with xfer.show_progress()` around it has asked. In a
terminal there is a bar, in a notebook one line, and in the log of a batch job a line about once a minute.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

from xfer.runtime.clock import Clock
from xfer.runtime.display import Display, Lines, OneLine
from xfer.runtime.distributed import launch_environment
from xfer.runtime.messages import Messages, on_stderr, own_stderr
from xfer.runtime.work import Work

T = TypeVar("T")

_display: ContextVar[Display | None] = ContextVar("xfer_display", default=None)
_hidden: ContextVar[bool] = ContextVar("xfer_hidden", default=False)
CLOCK = Clock()


class Report:
    """What a pass reports to; without a display, nobody listens."""

    def __init__(self, display: Display | None, work: Work | None) -> None:
        self._display, self._work = display, work

    def reach(self, done: float, total: float | None = None) -> None:
        """So much is done by now, in all; and how much there is, if that was not known before."""
        if self._display is not None and self._work is not None:
            self._work.total = self._work.total if total is None else total
            self._work.reach(done)
            self._display.changed()

    def advance(self, number: float = 1) -> None:
        """So much more is done."""
        if self._work is not None:
            self.reach(self._work.done + number)


@contextmanager
def show_progress(shown: bool = True) -> Iterator[None]:
    """Show the progress of what is called inside on stderr; or hide it, whatever is asked outside or further inside.

    In a run of several processes, the main one alone shows it.
    """
    if shown and (_hidden.get() or _display.get() is not None or launch_environment().rank or sys.stderr is None):
        yield
        return
    if not shown:
        tokens = _hidden.set(True), _display.set(None)
        try:
            yield
        finally:
            _hidden.reset(tokens[0])
            _display.reset(tokens[1])
        return
    out = own_stderr()
    display = _display_on(out)
    token = _display.set(display)
    try:
        yield
    finally:
        display.close()
        _display.reset(token)
        out.close()


@contextmanager
def work(what: str, total: float | None, unit: str = "images", done: float = 0) -> Iterator[Report]:
    """Work that is counted, such as a pass over images.

    Args:
        what: as a present participle: "extracting features".
        total: how much there is in all; None if that is not known.
        unit: in the plural.
        done: how much was done before.
    """
    display = _display.get()
    if display is None:
        yield Report(None, None)
        return
    begun = Work(what, total, unit, CLOCK.now, done)
    display.began(begun)
    try:
        yield Report(display, begun)
    finally:
        display.ended(begun)


@contextmanager
def step(what: str, *, when: bool = True) -> Iterator[None]:
    """Something that may take long and says nothing meanwhile, such as "loading tensorflow"."""
    with work(what, None, "") if when else nullcontext():
        yield


def each(things: Iterable[T], what: str, total: float | None, unit: str = "images") -> Iterator[T]:
    """The things, one after another, each reported when the next is asked for."""
    with work(what, total, unit) as report:
        for thing in things:
            yield thing
            report.advance()


def note(text: str) -> None:
    """A word on how the work goes that is being done, such as its loss."""
    display = _display.get()
    if display is not None and display.under_way:
        display.under_way[-1].note = text


def announce(text: str) -> None:
    """A line in a log, where it is not shown otherwise that something begins."""
    display = _display.get()
    if display is not None:
        display.announce(text)


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silence() -> Iterator[None]:
    """A context in which `say` says nothing: what it would say was said before."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def say(text: str) -> None:
    """A line on stderr, above any bar. It ends nothing if stderr is closed."""
    if _silent.get():
        return
    display = _display.get()
    if display is None:
        on_stderr(text)
    else:
        display.say(text)


def _display_on(out: Messages) -> Display:
    if _in_notebook():
        return OneLine(Messages(sys.stderr), CLOCK)
    if out.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown"):
        from xfer.runtime.bar import Bars

        return Bars(out, CLOCK)
    return Lines(out, CLOCK)


def _in_notebook() -> bool:
    """Whether stderr is that of a cell of Jupyter."""
    return type(sys.stderr).__module__.startswith("ipykernel.")
