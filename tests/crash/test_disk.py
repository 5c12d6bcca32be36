"""A disk that fails while a run is saved: training stops with a reason, and the last good checkpoint stands."""

import errno
import os
import shutil

import numpy as np
import pytest

import xfer
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.checkpoints.rotation import Checkpoints, checkpoints_in, latest_checkpoint
from xfer.errors import CheckpointError, TrainingError
from xfer.testing import NumpyBackend
from xfer.training.callback import Callback


def trainer(folder, **options):
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b", "c"], image_size=16)
    often = Checkpoints(folder, steps=1)
    return xfer.Trainer(model, lr=1e-2, cache=False, progress=False, checkpoints=often, **options)


def same(a, b):
    return all(b[name].tobytes() == array.tobytes() for name, array in a.items()) and len(a) == len(b)


class At(Callback):
    """Does something after an update."""

    def __init__(self, step, act):
        self.step, self.act, self.seen = step, act, 0

    def on_step_end(self, trainer, step, loss):
        self.seen += 1
        if self.seen == self.step:
            self.act()


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_a_failing_disk(data, tmp_path, monkeypatch, call, number, words):
    whole = trainer(tmp_path / "whole")
    whole.fit(data, 3)
    real = getattr(os, call)

    def fails(*arguments, **options):
        raise OSError(number, os.strerror(number))

    broken = trainer(tmp_path / "broken", callbacks=[At(4, lambda: monkeypatch.setattr(os, call, fails))])
    with pytest.raises(CheckpointError, match=f"{words}.*the last good one is"):
        broken.fit(data, 3)
    monkeypatch.setattr(os, call, real)
    assert len(checkpoints_in(tmp_path / "broken")) == 2
    assert {path.name for path in (tmp_path / "broken").iterdir()} - {".lock"} == {"00000002", "00000003"}
    again = xfer.Trainer.resume(tmp_path / "broken", backend=NumpyBackend(), cache=False, progress=False)
    assert (again.epoch, again.batch) == (1, 1)
    again.fit(data)
    assert same(whole.model.weights(), again.model.weights())
    assert same(whole.stepper.state(), again.stepper.state())
    assert [row["val_loss"] for row in whole.history] == [row["val_loss"] for row in again.history]


def test_a_limit_of_the_system_on_the_size_of_files(data, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = At(2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard)))
    broken = trainer(tmp_path / "run", callbacks=[limit])
    try:
        with pytest.raises(CheckpointError, match=r"cannot write a checkpoint into .*: File too large"):
            broken.fit(data, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (last,) = checkpoints_in(tmp_path / "run")
    open_checkpoint(last).verify()


def test_a_folder_that_vanishes_is_not_made_again(data, tmp_path):
    broken = trainer(tmp_path / "run", callbacks=[At(3, lambda: shutil.rmtree(tmp_path / "run"))])
    with pytest.raises(CheckpointError, match=r"No such file or directory; there is none before it|the last good one"):
        broken.fit(data, 2)
    assert not (tmp_path / "run").exists()


def test_no_folder_can_be_made(data, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot write into"):
        trainer(tmp_path / "file" / "run").fit(data, 1)


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "manifest"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(data, tmp_path, damage, capsys):
    first = trainer(tmp_path / "run")
    first.fit(data, 2)
    last, before = checkpoints_in(tmp_path / "run")
    victim = last / ("manifest.json" if damage == "manifest" else next(last.glob("optimizer-*")).name)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes(content[:-1] if damage == "cut" else content)
    found = latest_checkpoint(tmp_path / "run")
    assert found.path == before
    assert "taking the checkpoint before it" in capsys.readouterr().err
    shutil.rmtree(before)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole"):
        latest_checkpoint(tmp_path / "run")


def test_what_a_kill_left_half_written_is_swept(data, tmp_path):
    part = tmp_path / "run" / ".00000009.part"
    part.mkdir(parents=True)
    (part / "model-000000000000.safetensors").write_bytes(b"half")
    trainer(tmp_path / "run").fit(data, 1)
    assert not part.exists()
    assert [path.name for path in checkpoints_in(tmp_path / "run")] == ["00000002", "00000001"]


def test_how_often(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("xfer.checkpoints.rotation.time.monotonic", lambda: now[0])
    often = Checkpoints(tmp_path / "run", steps=3, seconds=10)
    with often:
        assert [often.counted() for _ in range(6)] == [False, False, True, False, False, True]
        now[0] = 10.0
        assert often.late()
        assert not often.counted()

        def slow(folder):
            now[0] += 5.0

        often.write(slow)  # took 5 s: the next is due after 100
        now[0] += 99
        assert not often.late()
        now[0] += 1
        assert often.late()


def test_a_fit_that_is_broken_off_goes_on_in_the_same_process(data, tmp_path):
    whole = trainer(tmp_path / "whole", early_stopping=2)
    whole.fit(data, 4)

    def stop():
        raise KeyboardInterrupt

    broken = trainer(tmp_path / "broken", early_stopping=2, callbacks=[At(3, stop)])
    with pytest.raises(KeyboardInterrupt):
        broken.fit(data, 4)
    broken.callbacks = []
    broken.fit(data)
    assert same(whole.model.weights(), broken.model.weights())


class Poison(Callback):
    """A weight that is no number, from the third epoch on."""

    def on_epoch_begin(self, trainer, epoch, steps):
        if epoch == 2:
            trainer.model.set_weights({"fc.bias": np.full(3, np.nan, np.float32)})


def test_numbers_that_go_bad_leave_the_last_good_checkpoint(data, tmp_path):
    whole = trainer(tmp_path / "whole", restore_best=False)
    whole.fit(data, 2)
    with pytest.raises(TrainingError, match="bad numbers in epoch 3, batch 1"):
        trainer(tmp_path / "run", restore_best=False, callbacks=[Poison()]).fit(data, 4)
    again = xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), cache=False, progress=False)
    assert (again.epoch, again.batch) == (1, 2)
    assert same(whole.model.weights(), again.model.weights())
    assert same(whole.stepper.state(), again.stepper.state())
