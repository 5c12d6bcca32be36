"""Hostile runs and weights through `xfer.load` on a real backend; for tests/torch and tests/keras."""

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import xfer
from tests.core.security import files, runs
from tests.core.weights.test_pth_attacks import CALLS, FORMATS
from xfer.errors import XferError

EFFECTS = ("pickle.find_class", "marshal.load", "os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.")
EFFECTS += ("socket.", "os.remove", "os.rename", "os.mkdir", "shutil.")
LATER = ("slots", "a history", "progress", "another network")  # of training, and what would build a large network first
RUNS = {name: f for name, f in (runs.DOCUMENTS | runs.PATHS | runs.NUMBERS).items() if not name.startswith(LATER)}
SEEN: list[str] = []
ARMED: list[bool] = []


def watch(event: str, arguments: object) -> None:
    if ARMED and event.startswith(EFFECTS):
        SEEN.append(event)


sys.addaudithook(watch)


def refused(path: str | Path, **options: object) -> str:
    """What `xfer.load` says of a file; nothing else may have come of it."""
    SEEN.clear()
    ARMED.append(True)
    try:
        with pytest.raises(XferError) as caught:
            xfer.load(path, **options)
    finally:
        ARMED.clear()
    assert not SEEN, SEEN
    assert str(caught.value).isprintable(), str(caught.value)
    return str(caught.value)


class HostileSuite:
    """Each test on `backend`."""

    backend: str

    @pytest.fixture(scope="class")
    def good(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("good") / "plain"
        options = {"backend": self.backend, "device": "cpu"}
        model = xfer.load("tiny", weights=None, classes=list("abc"), image_size=16, **options)
        data = xfer.data.arrays(np.zeros((6, 16, 16, 3), np.uint8), np.arange(6) % 3, classes=list("abc"))
        trainer = xfer.Trainer(model, progress=False, cache=False)
        trainer.fit(data, 1)
        trainer.save(folder)
        xfer.load(folder, **options)
        return folder

    @pytest.mark.parametrize("name", RUNS)
    def test_runs(self, good, tmp_path, name):
        shutil.copytree(good, tmp_path / "plain")
        RUNS[name](tmp_path / "plain")
        refused(tmp_path / "plain", backend=self.backend, device="cpu")

    def test_slots_of_other_shapes(self, good, tmp_path):
        shutil.copytree(good, tmp_path / "plain")
        runs.wide_slots(tmp_path / "plain")
        with pytest.raises(XferError, match="optimizer slot"):
            xfer.Trainer.resume(tmp_path / "plain", backend=self.backend, device="cpu", progress=False)

    def test_weights(self, good, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        attacks = [(".pth", wrap(program)) for program in CALLS.values() for wrap in FORMATS.values()]
        attacks += [(".pth", make()) for make in files.ZIPS.values()]
        attacks += [(".safetensors", content) for content in files.SAFETENSORS.values()]
        attacks += [(".h5", make) for make in files.H5.values()]
        warm = set[str]()
        for number, (suffix, content) in enumerate(attacks):
            path = tmp_path / str(number) / f"x{suffix}"
            path.parent.mkdir()
            path.write_bytes(content) if isinstance(content, bytes) else content(path)
            model = "resnet50" if suffix == ".h5" else "tiny"
            if suffix not in warm:  # so that what refuses it is imported
                warm.add(suffix)
                with suppress(XferError):
                    xfer.load(model, weights=str(path), backend=self.backend, device="cpu")
            refused(model, weights=str(path), backend=self.backend, device="cpu")
        assert not (tmp_path / "canary").exists()
