"""Files that end, stop or swell the process which decodes them: each is named, and the others are read."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from tests.suites.command_line import document, xfer_command
from xfer.data import folder, inspect
from xfer.data.images import isolation
from xfer.data.images.isolation import isolated
from xfer.data.images.probe import ImageInfo, look

# What a decoder does with an image of this width. Python runs a `sitecustomize` before anything else.
DECODERS = {
    61: ("ctypes.string_at(0)", "its decoder was ended by SIGSEGV"),
    62: ("os.abort()", "its decoder was ended by SIGABRT"),
    63: ("os.kill(os.getpid(), signal.SIGKILL)", "its decoder was ended by SIGKILL"),
    64: ("os._exit(3)", "its decoder ended with exit code 3"),
    65: ("while True: time.sleep(1)", "decoding it took more than 2 s"),
    66: ("signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32)); time.sleep(9999)", "decoding it took more than 2 s"),
    67: (
        "while True: room.append(numpy.empty(2**29, numpy.uint8))",
        "decoding it takes more than 6 GiB of memory; save it smaller",
    ),
    68: ("raise SystemExit(5)", "its decoder ended with exit code 5"),
    69: ("os.write(1, b'[1, 2]\\n' * 9999)", None),  # what it prints is no answer
    70: ("os.write(3, b'[1, 2]\\n')", "its decoder gave no sensible answer"),  # the very pipe of the answers
}
CUSTOM = f"""
import ctypes, os, signal, time
import numpy
from PIL import ImageFile
real, room = ImageFile.ImageFile.load, []
actions = { {width: action for width, (action, _) in DECODERS.items()}!r}
def load(self):
    if self.size[0] in actions:
        exec(actions[self.size[0]])
    return real(self)
ImageFile.ImageFile.load = load
"""


@pytest.fixture
def bad_decoders(tmp_path_factory, monkeypatch):
    """In processes that are started: those of `DECODERS`; 2 s are enough."""
    where = tmp_path_factory.mktemp("custom")
    (where / "sitecustomize.py").write_text(CUSTOM)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(where), *filter(None, sys.path)]))
    monkeypatch.setattr(isolation, "SECONDS", 2.0)


@pytest.fixture
def processes(monkeypatch):
    """Those that were started, in order."""
    started = []
    real = subprocess.Popen

    def popen(*arguments, **options):
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(isolation.subprocess, "Popen", popen)
    return started


@pytest.fixture
def crowd(tmp_path, photo):
    """Two classes, a harmless image before and after each of those that their decoder does not survive."""
    for width in DECODERS:
        for label in ("ant", "bee"):
            (tmp_path / label).mkdir(exist_ok=True)
            photo(width).save(tmp_path / label / f"{width}-a.png")
            photo(width, (width, 40)).save(tmp_path / label / f"{width}-b.png")
            photo(width + 100).save(tmp_path / label / f"{width}-c.jpg")
    (tmp_path / "ant/empty.png").write_bytes(b"")
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="signals and limits of memory are those of Linux")
@pytest.mark.usefixtures("bad_decoders")
def test_every_file_is_read_or_named(crowd, processes):
    found = inspect(folder(crowd, val=0), workers=2, isolate=True).splits["train"]
    assert found.listed == 6 * len(DECODERS) + 1
    assert found.listed == found.readable + len(found.unreadable)
    reasons = {bad.name: bad.reason for bad in found.unreadable}
    assert reasons.pop("ant/empty.png") == "the file is empty"
    fatal = {width: reason for width, (_, reason) in DECODERS.items() if reason}
    assert reasons == {f"{label}/{width}-b.png": fatal[width] for width in fatal for label in ("ant", "bee")}
    deaths = 2 * (len(fatal) - 1)  # too little memory is survived
    assert deaths <= len(processes) <= deaths + 2
    assert all(process.returncode is not None for process in processes)


def test_the_same_is_found_as_without(tmp_path, photo, processes):
    for label in ("ant", "bee"):
        (tmp_path / label).mkdir()
        for i, (form, suffix) in enumerate([("PNG", "png"), ("JPEG", "jpg"), ("GIF", "gif"), ("TIFF", "jpg")]):
            photo(i).save(tmp_path / label / f"{i}.{suffix}", form)
        photo(9).convert("CMYK").save(tmp_path / label / "5.jpg")
        (tmp_path / label / "6.png").write_bytes((tmp_path / label / "0.png").read_bytes()[:-40])
        (tmp_path / label / "\N{SNOWMAN} -x [red]\n.png").write_text("no image")
        with open(os.fsencode(tmp_path / label) + b"/\xff.png", "wb"):  # noqa: PTH123
            pass
    expected = inspect(folder(tmp_path))
    assert sum(len(split.unreadable) for split in expected.splits.values()) == 6
    for workers in (0, 1, 3):
        assert inspect(folder(tmp_path), workers=workers, isolate=True) == expected
    assert len(processes) == 1 + 1 + 3
    found = document(xfer_command("inspect", tmp_path, "--isolate", "--json"))
    assert found == json.loads(json.dumps(asdict(expected)))


def test_bytes_arrays_and_pictures(photo, tmp_path):
    photo().save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    sources = [whole, whole[:-50], b"", np.asarray(photo()), photo(), tmp_path / "a.png", tmp_path / "gone.png"]
    with isolated(1) as how:
        assert [how(source) for source in sources] == [look(source) for source in sources]
        assert how(bytes(2**22) + whole) == look(bytes(2**22) + whole)


def test_as_many_files_at_once_as_there_are_processes(tmp_path, photo, processes):
    for i in range(30):
        photo(i).save(tmp_path / f"{i}.png")
    files = sorted(tmp_path.iterdir())
    with isolated(3) as how, ThreadPoolExecutor(7) as pool:
        found = list(pool.map(how, files))
        assert len(processes) <= 3
    assert found == [look(file) for file in files]
    assert all(isinstance(each, ImageInfo) for each in found)


def test_a_process_that_dies_in_between_is_no_fault_of_the_next_file(tmp_path, photo, processes):
    photo().save(tmp_path / "a.png")
    with isolated(1) as how:
        for _ in range(2):
            assert isinstance(how(tmp_path / "a.png"), ImageInfo)
            processes[-1].kill()
            processes[-1].wait()
    assert len(processes) == 2


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="the system has no alarms")
def test_processes_do_not_outlive_the_one_that_started_them(tmp_path, photo):
    Image.new("L", (5, 5)).save(tmp_path / "a.png")
    script = (
        "import os; from pathlib import Path; from xfer.data.images import isolation\n"
        "with isolation.isolated(1) as how:\n"
        f" how(Path({str(tmp_path / 'a.png')!r}))\n"
        " print(os.popen(f'ps -o pid= --ppid {os.getpid()} --no-headers | head -1').read(), flush=True)\n"
        " os._exit(0)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    child = int(run.stdout)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {child} still runs")


def test_a_process_that_does_not_start_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(isolation.sys, "executable", "/bin/false")
    (tmp_path / "a.png").write_bytes(b"x")
    with isolated(1) as how, pytest.raises(isolation.XferError, match=r"did not start: .* ended with exit code 1"):
        how(tmp_path / "a.png")
