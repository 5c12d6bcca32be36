"""A progress bar over images on stderr, in a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def image_bar(total: int) -> Iterator[Callable[[int], Callable[[float], None]]]:
    """A bar with the number of images, their rate and the time that is left.

    Yields what is given the number of images that were done before, and returns what is told of more.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda done: lambda images: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.1f} images/s" if task.speed else "")

    columns = (BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,}"), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def begin(done: int) -> Callable[[float], None]:
            task = bar.add_task("", total=total, completed=done)
            return lambda images: bar.advance(task, images)

        yield begin
