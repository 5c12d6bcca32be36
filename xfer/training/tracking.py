"""The interface of experiment trackers: the configuration of a run, a row for each epoch, and its final metrics."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, ClassVar

from xfer.errors import UsageError, first_line
from xfer.runtime.progress import say
from xfer.training.callback import Callback, TrainerView
from xfer.training.history import Row

PATIENCE = 30.0  # seconds that the end of a fit waits for a tracker, once; a sixth of them where it was interrupted
TRACKING = "tracking"  # in what checkpoints store of a run: the id of its run in each tracker


class Tracker(Callback, ABC):
    """Logs a run with a library of others; a subclass implements the methods at the end.

    They are called in a thread of their own, so a server that is slow, or gone, does not slow training. A tracker that
    fails says so once on stderr, and the run goes on without it. Of several processes the main one alone logs. A run
    that is resumed goes on with the tracker's run, whose id its checkpoints have.

    Args:
        folder: for files; by default one of the tracker's name in the folder of the run, or in the current one.
    """

    name: ClassVar[str]
    library: ClassVar[str]

    def __init__(self, folder: str | Path | None = None) -> None:
        require(type(self))
        self.folder = None if folder is None else Path(folder)
        self.lost = False
        self._begun = False
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread: Thread | None = None

    def on_fit_begin(self, trainer: TrainerView, epochs: int) -> None:
        if trainer.distributed.rank == 0:
            self._begin(trainer)

    def on_epoch_end(self, trainer: TrainerView, row: Row) -> None:
        if trainer.distributed.rank == 0:
            if not self._begun:  # a head that is an estimator is fitted without epochs
                self._begin(trainer)
            numbers = {name: value for name, value in row.items() if isinstance(value, float)}
            self._do(partial(self.log, numbers, row["epoch"]))

    def on_fit_end(self, trainer: TrainerView) -> None:
        if self._begun:
            finished = trainer.plan is None
            self._do(partial(self.pause, finished=finished))
            self._wait(PATIENCE if finished else PATIENCE / 6)

    def finish(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log the final metrics of a run after its last epoch, and end it."""
        if self._begun:
            self._do(partial(self.end, metrics, epoch))
            self._wait(PATIENCE)
            self._begun = False

    def _begin(self, trainer: TrainerView) -> None:
        self._begun = True
        try:
            import_module(self.library)  # here, so that the seconds it takes do not count as those of its server
        except Exception as error:
            self._lose(first_line(error))
        ids = trainer.extra.setdefault(TRACKING, {})
        ids.setdefault(self.name, self.new_id())
        home = trainer.checkpoints.folder.parent if trainer.checkpoints else Path()
        folder = self.folder or home / self.name
        settings = trainer.extra.get("config") or trainer.settings.document()
        config = {**settings, "model": trainer.model.name, "backend": trainer.model.backend.name}

        def begin() -> None:
            ids[self.name] = self.begin(ids[self.name], config, folder)

        self._do(begin)

    def _do(self, call: Callable[[], object]) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name=f"xfer-{self.name}", daemon=True)
            self._thread.start()
        self._calls.put(lambda: None if self.lost else call())

    def _wait(self, seconds: float) -> None:
        """Wait until all is logged; a tracker that takes too long is given up."""
        done = Event()
        self._calls.put(done.set)
        if not self.lost and not done.wait(seconds):
            self._lose(f"no answer in {seconds:g} s")

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            try:
                call()
            except Exception as error:  # whatever the library or its server raises: no reason to end a run
                self._lose(first_line(error))

    def _lose(self, reason: str) -> None:
        if not self.lost:
            self.lost = True
            shown = re.sub(r"//[^/@\s]+@", "//***@", reason)  # a password in an address
            say(f"{self.name} fails ({shown}): the run goes on without it")

    # What a tracker implements.

    def new_id(self) -> str | None:
        """An id for a run, where the library takes one; else the server gives it, after a while."""
        return None

    @abstractmethod
    def begin(self, run: str | None, config: Mapping[str, Any], folder: Path) -> str:
        """Begin a run, or go on with the one that has this id; before each fit.

        Args:
            run: the id that an earlier call has returned, in this process or before an interruption; else `new_id()`.
            config: the options of the run, and its model and backend.
            folder: for files, if the tracker writes any.

        Returns:
            The id of the run.
        """

    @abstractmethod
    def log(self, row: Mapping[str, float], epoch: int) -> None:
        """Log the numbers of an epoch."""

    def pause(self, *, finished: bool) -> None:
        """After a fit, that was finished or interrupted; another may follow."""

    @abstractmethod
    def end(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Log the final metrics, and end the run."""


def require(kind: type[Tracker]) -> None:
    """Check that what a tracker needs is installed.

    Raises:
        UsageError: it is not; the message names the extra.
    """
    try:
        there = find_spec(kind.library) is not None
    except ValueError:  # a module that was put in place by hand
        there = True
    if not there:
        raise UsageError(f'tracking with {kind.name} needs {kind.library}: pip install "xfer-learn[{kind.name}]"')
