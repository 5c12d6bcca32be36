"""What several processes agree on: signals of any of them, and the clock of the first."""

import os
import signal
import time

import pytest

from xfer.errors import DistributedError
from xfer.runtime import agreement
from xfer.runtime.agreement import Notes, SharedWatch, watch
from xfer.runtime.distributed import DistributedContext
from xfer.runtime.signals import Interrupted, Watch


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Two(DistributedContext):
    """The second process tells what it is told to."""

    def __init__(self, rank, other):
        super().__init__(rank, 2)
        object.__setattr__(self, "other", other)

    def exchange(self, thing):
        what, own, _ = thing
        theirs = (what, own, self.other)
        return [thing, theirs] if self.rank == 0 else [theirs, thing]


def test_a_signal_is_raised_when_all_know_it():
    with SharedWatch() as shared:
        os.kill(os.getpid(), signal.SIGTERM)
        shared.look()
        assert agreement.notes() == Notes(signal.SIGTERM, False)
        assert Two(0, Notes()).gather("a", "batch") == ["a", "a"]
        with pytest.raises(Interrupted) as raised:
            shared.look()
    assert raised.value.number == signal.SIGTERM


def test_a_signal_of_another_process_is_raised_in_this_one():
    with SharedWatch() as shared:
        Two(0, Notes(signal.SIGINT)).gather("a", "batch")
        with pytest.raises(Interrupted, match="SIGINT"):
            shared.look()
        os.kill(os.getpid(), signal.SIGINT)  # its own comes later, and is no second one


def test_where_nothing_must_be_whole_it_is_raised_by_the_exchange():
    with SharedWatch() as shared, pytest.raises(Interrupted), shared.anywhere():
        Two(1, Notes(signal.SIGTERM)).gather("a", "batch")


@pytest.mark.parametrize(("rank", "own", "other", "late"), [(0, True, False, True), (1, True, False, False)])
def test_the_clock_is_that_of_the_first_process(rank, own, other, late):
    with SharedWatch(late=lambda: own) as shared:
        assert not shared.late()
        Two(rank, Notes(None, other)).gather("a", "batch")
        Two(rank, Notes(None, other)).gather("a", "batch without an image")
        assert shared.late() == late
        assert not shared.late(), "it is said once"


def test_other_signals():
    """A second SIGTERM, which some launchers send, changes nothing; a second Ctrl-C does not wait."""
    with SharedWatch() as shared:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        shared.look()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_never_agreed_on_ends_this_process(number, monkeypatch):
    """As when another process is gone, and this one is busy; SIGTERM, which comes to what is left, stays ignored."""
    monkeypatch.setattr(agreement, "PATIENCE", 0.2)
    began = time.monotonic()

    def busy():
        with SharedWatch():
            os.kill(os.getpid(), number)
            time.sleep(60)

    with pytest.raises(DistributedError, match="another process of it has ended"):
        busy()
    assert time.monotonic() - began < 50
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with SharedWatch():
        pass
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_parted_processes_are_told_so():
    class Elsewhere(Two):
        def exchange(self, thing):
            return [thing, ("save", None, Notes())]

    with pytest.raises(DistributedError, match="process 0 is at 'fit', process 1 at 'save'"):
        Elsewhere(0, Notes()).gather(1, "fit")


def test_one_process_has_its_own_watch():
    assert type(watch(1)) is Watch
    assert type(watch(2)) is SharedWatch
