"""The processes of a run that xfer starts itself: what they are told, and how the run ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.suites.ending_worker import wait_for
from xfer.data.workers import threads
from xfer.errors import DataError, DistributedError, UsageError
from xfer.runtime import launching
from xfer.runtime.launching import launch
from xfer.runtime.signals import Interrupted

WORKER = "tests.suites.ending_worker"
PEER = "another process of this run has ended (Connection closed by peer); resume from run/checkpoints/00000007"


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """A module is not looked for in the working directory."""
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]))


def job(folder, *steps):
    return {"folder": str(folder), **{str(rank): list(each) for rank, each in enumerate(steps)}}


def environment(folder, rank):
    return json.loads((folder / f"{rank}.json").read_text())


def test_each_process_is_told_what_torchrun_tells(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    launch(WORKER, job(tmp_path, [("print", "first")], [("print", "second")]), 2)
    both = [environment(tmp_path, rank) for rank in (0, 1)]
    assert [(each["RANK"], each["LOCAL_RANK"], each["WORLD_SIZE"]) for each in both] == [
        ("0", "0", "2"),
        ("1", "1", "2"),
    ]
    assert both[0]["MASTER_ADDR"] == both[1]["MASTER_ADDR"] == "127.0.0.1"
    assert 0 < int(both[0]["MASTER_PORT"]) == int(both[1]["MASTER_PORT"])
    cores = len(os.sched_getaffinity(0))
    assert both[0]["OMP_NUM_THREADS"] == both[0]["NPROC"] == str(max(cores // 2, 1))
    assert both[0]["TF_NUM_INTRAOP_THREADS"] == "7", "what somebody has chosen stays"
    assert capfd.readouterr().out == "first\n"


def test_the_first_failure_ends_the_others_and_is_raised(tmp_path):
    """The other one is told before, and tells after, that a process is gone; its own exit code comes first."""
    steps = [("await", "1.json"), ("tell", "DistributedError", PEER, 1)], [("tell", "DataError", "no such photo", 1)]
    with pytest.raises(DataError, match=r"^no such photo$"):
        launch(WORKER, job(tmp_path, *steps), 2)


def test_what_all_refuse_is_raised_once(tmp_path, capfd):
    steps = [("tell", "UsageError", "give a number", 2)]
    with pytest.raises(UsageError, match=r"^give a number$"):
        launch(WORKER, job(tmp_path, steps, steps, steps), 3)
    assert capfd.readouterr().err == ""


def test_a_killed_process_is_named_with_the_checkpoint(tmp_path):
    told = ("tell", "DistributedError", PEER, 1)
    steps = [("await", "1.json"), ("deaf",), ("await-end", "1.json"), told], [("await", "0.deaf"), ("kill", 9)]
    message = r"^process 1 of 2 was killed by SIGKILL \(out of memory\?\); resume from run/checkpoints/00000007$"
    with pytest.raises(DistributedError, match=message):
        launch(WORKER, job(tmp_path, *steps), 2)


def test_a_killed_process_among_others_that_are_ended(tmp_path):
    with pytest.raises(DistributedError, match=r"^process 1 of 3 was killed by SIGKILL"):
        launch(WORKER, job(tmp_path, [("await", "never")], [("await", "0.json"), ("kill", 9)], [("await", "never")]), 3)


def test_a_crash_of_any_process_is_shown(tmp_path, capfd):
    with pytest.raises(DistributedError, match=r"^process 1 of 2 ended with exit code 1; what it printed above says"):
        launch(WORKER, job(tmp_path, [("await", "never")], [("crash", "a fault of xfer")]), 2)
    assert "RuntimeError: a fault of xfer" in capfd.readouterr().err


def test_what_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(launching, "GRACE", 0.3)
    steps = [("deaf",), ("await", "never")], [("await", "0.deaf"), ("tell", "DataError", "no such photo", 1)]
    began = time.monotonic()
    with pytest.raises(DataError):
        launch(WORKER, job(tmp_path, *steps), 2)
    assert time.monotonic() - began < 50
    with pytest.raises(ProcessLookupError):
        os.kill(environment(tmp_path, 0)["pid"], 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on(tmp_path, number):
    def send():
        wait_for(tmp_path / "0.watches")
        wait_for(tmp_path / "1.watches")
        os.kill(os.getpid(), number)

    before, sender = signal.getsignal(number), threading.Thread(target=send)
    sender.start()
    with pytest.raises(Interrupted) as raised:
        launch(WORKER, job(tmp_path, [("watch", "checkpoints/00000003")], [("watch", "checkpoints")]), 2)
    sender.join()
    assert raised.value.number == number
    assert raised.value.saved == tmp_path / "checkpoints" / "00000003"
    assert signal.getsignal(number) == before


def test_processes_that_note_no_signal_end_by_it(tmp_path):
    """As those that still import a framework."""

    def send():
        for rank in (0, 1):
            wait_for(tmp_path / f"{rank}.json")
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(Interrupted) as raised:
        launch(WORKER, job(tmp_path, [("await", "never")], [("await", "never")]), 2)
    sender.join()
    assert (raised.value.number, raised.value.saved) == (signal.SIGTERM, None)


def test_the_threads_that_decode_are_divided_too(monkeypatch):
    monkeypatch.setattr("xfer.data.workers.cpu_cores", lambda: 7)
    found = []
    for processes in ("", "1", "3", "9"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        found.append((threads(None), threads(5)))
    assert found == [(7, 5), (7, 5), (2, 5), (1, 5)]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_no_process_outlives_the_one_that_has_started_it(tmp_path):
    text = f"from xfer.runtime.launching import launch; launch({WORKER!r}, {job(tmp_path, *[[('watch', 'a')]] * 2)}, 2)"
    starter = subprocess.Popen([sys.executable, "-c", text])
    for rank in (0, 1):
        wait_for(tmp_path / f"{rank}.watches")
    starter.kill()
    starter.wait()
    until = time.monotonic() + 30
    for rank in (0, 1):
        while Path(f"/proc/{environment(tmp_path, rank)['pid']}").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
