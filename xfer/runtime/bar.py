"""Bars in a terminal, which go when the work is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from xfer.runtime.clock import Clock
from xfer.runtime.display import Display
from xfer.runtime.messages import Messages
from xfer.runtime.work import Work

if TYPE_CHECKING:
    from rich.table import Table

PATIENCE = 1.0  # seconds before work is shown
_LONGEST, _SHORTEST = 40, 8  # columns of a bar


class Bars(Display):
    """A line for each work under way: what, a bar, amount, rate and time left, cut to the width of the terminal.

    The cursor is not hidden: whatever ends the process, the terminal stays usable.
    """

    def __init__(self, out: Messages, clock: Clock) -> None:
        super().__init__(out, clock)
        from rich.console import Console

        class Visible(Console):
            def show_cursor(self, show: bool = True) -> bool:
                return False

        self._console = Visible(file=out, force_terminal=True, force_interactive=True)  # type: ignore[arg-type]
        self._live: Any = None
        self._shown: list[Work] = []  # of what is under way

    def began(self, work: Work) -> None:
        """Show it if it is not done in a moment."""
        with self.lock:
            super().began(work)
            self.call_later(work, PATIENCE, lambda: self._appear(work))

    def ended(self, work: Work) -> None:
        """Erase its line."""
        with self.lock:
            super().ended(work)
            self._shown = [each for each in self._shown if each is not work]
            if self._live is not None and not self._shown:
                self._live.stop()
                self._live = None

    def say(self, text: str) -> None:
        """Write a line above the bars."""
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)

    def _appear(self, work: Work) -> None:
        from rich.live import Live

        with self.lock:
            if work not in self.under_way:
                return
            self._shown = [each for each in self.under_way if each in self._shown or each is work]
            if self._live is None:
                self._live = Live(
                    console=self._console,
                    get_renderable=self._draw,
                    transient=True,
                    redirect_stdout=False,  # stdout is for results
                )
                self._live.start(refresh=True)

    def _draw(self) -> Any:
        from rich.console import Group

        return Group(*(row(work, self._console.width) for work in self._shown))


def row(work: Work, width: int) -> Table:
    """A line of fewer than `width` columns, with as many figures as fit, and a bar where there is room."""
    from rich.cells import cell_len, set_cell_size
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    room = width - 1
    what = work.what if cell_len(work.what) <= room // 2 else set_cell_size(work.what, max(room // 2 - 3, 1)) + "..."
    shown = next((text for text in _texts(work) if cell_len(what) + 1 + cell_len(text) <= room), "")
    left = room - cell_len(what) - cell_len(shown) - 2
    cells: list[Any] = [Text(what, no_wrap=True)]
    if work.counted and work.total and left >= _SHORTEST:
        cells.append(ProgressBar(total=work.total, completed=work.done, width=min(left, _LONGEST)))
    cells.append(Text(shown, no_wrap=True))
    table = Table.grid(padding=(0, 1))
    table.add_row(*cells)
    return table


def _texts(work: Work) -> Iterator[str]:
    """The figures, in ever fewer words."""
    amount, *more = work.figures("/")
    kept = more[:-1] if work.note else more
    short = f"{work.done / work.total:.0%}" if work.total else amount
    for parts in ([amount, *more], [amount, *kept], [short, *kept], [short, *kept[1:]], [short]):
        yield ", ".join(parts)
