"""A checkpoint is whole or refused, and says what it holds."""

import numpy as np
import pytest

import xfer
from xfer.checkpoints import saving
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.errors import CheckpointError
from xfer.runtime import checksums, files
from xfer.testing import NumpyBackend


def test_round_trip(model, data, tmp_path):
    model.freeze("stem")
    trainer = xfer.Trainer(model, lr=1e-2, progress=False)
    trainer.fit(data, 1)
    trainer.save(tmp_path / "run")
    again = xfer.load(tmp_path / "run", backend=NumpyBackend())
    assert again.classes == ("a", "b", "c")
    assert again.trainable == model.trainable
    assert again.spec.preprocessing == model.spec.preprocessing
    for name, array in model.weights().items():
        assert again.weights()[name].tobytes() == array.tobytes()
    np.testing.assert_array_equal(again.predict_proba(data.val), model.predict_proba(data.val))
    run = open_checkpoint(tmp_path / "run")
    assert (run.manifest.training.epoch, run.manifest.training.step) == (1, 0)
    for name, array in trainer.stepper.state().items():
        np.testing.assert_array_equal(run.optimizer_state()[name], array)


def test_saving_again_replaces_and_leaves_other_files_alone(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    model.save(tmp_path)
    first = open_checkpoint(tmp_path).manifest.tensors.name
    model.set_weights({"fc.bias": np.ones(3, np.float32)})
    model.save(tmp_path)
    second = open_checkpoint(tmp_path).manifest.tensors.name
    assert first != second
    assert {p.name for p in tmp_path.iterdir()} == {"notes.txt", "manifest.json", second, ".lock"}


def test_a_write_that_fails_leaves_the_old_checkpoint(model, tmp_path, monkeypatch):
    model.save(tmp_path)
    before = open_checkpoint(tmp_path).weights()
    real = files.write_atomically

    def fails_at_the_manifest(path, content):
        if path.name == "manifest.json":
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(saving, "write_atomically", fails_at_the_manifest)
    model.set_weights({"fc.bias": np.ones(3, np.float32)})
    with pytest.raises(CheckpointError, match="No space left"):
        model.save(tmp_path)
    after = open_checkpoint(tmp_path).weights()
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())


def damage_byte(folder):
    path = next(folder.glob("model-*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def edit(**changes):
    def apply(folder):
        path = folder / "manifest.json"
        path.write_bytes(checksums.with_checksum(checksums.without_checksum(path.read_bytes()) | changes))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_byte, "its SHA-256 is not the manifest's"),
        (lambda folder: next(folder.glob("model-*")).unlink(), "the run is incomplete"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"), "is damaged"),
        (edit(format=4), "format 4, this xfer reads up to 3: upgrade xfer"),
        (edit(classes=7), "is damaged: classes"),
        (edit(tensors={"name": "../model.safetensors", "sha256": "0"}), "outside its folder"),
        (edit(model="resnet999"), "unknown model 'resnet999'"),
    ],
)
def test_damage_is_refused_in_one_line(model, tmp_path, damage, message):
    model.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(xfer.XferError, match=message) as caught:
        xfer.load(tmp_path, backend=NumpyBackend())
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(xfer.XferError, match=r"is no run: expected a folder with a manifest\.json"):
        xfer.load(tmp_path / "nothing", backend=NumpyBackend())
