"""A run under a URL is the run of a folder: trained, resumed, loaded, resumed again, and never read half uploaded."""

import json

import fsspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import xfer
from tests.suites.stores import STORES, store
from xfer.checkpoints import store as runs
from xfer.cli.app import app
from xfer.errors import CheckpointError, UsageError
from xfer.runtime import checksums
from xfer.runtime.remote import RemotePath
from xfer.workflows.config import run_settings
from xfer.workflows.run import train

BACKEND = "xfer.testing:NumpyBackend"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(24):
        place = root / ("val" if i > 15 else "train") / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(place / f"{i:02}.png")
    return root


@pytest.fixture(params=STORES)
def url(request, tmp_path, monkeypatch):
    monkeypatch.setenv("XFER_HOME", str(tmp_path / "home"))
    with store(request.param, tmp_path) as address:
        yield f"{address}/{request.param}-run"


@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XFER_HOME", str(tmp_path / "home"))
    with store("memory", tmp_path) as address:
        yield f"{address}/run"


def settings(photos, out, **options):
    common = {"model": "tiny", "weights": "none", "image_size": 16, "backend": BACKEND, "epochs": 0, "fine_tune": 2}
    return run_settings(
        {"data": str(photos), "out": str(out), "batch_size": 4, "checkpoint_steps": 1} | common | options
    )


def files(url):
    store, path = fsspec.core.url_to_fs(url)
    store.invalidate_cache()
    return sorted(name.removeprefix(path).lstrip("/") for name in store.find(path))


def train_until(number, config):
    """A run that is killed when so many checkpoints are uploaded."""
    upload, left = runs._upload, iter(range(number - 1))

    def then(url, paths):
        upload(url, paths)
        if next(left, None) is None:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_upload", then)
        with pytest.raises(Killed):
            train(config, progress=False)


class Killed(BaseException):
    pass


def new_process():
    """Nothing of a run under a URL is on this machine."""
    runs._temporary.cache_clear()


def test_a_run_is_resumed_and_is_that_of_a_folder(photos, url, tmp_path, capsys):
    undisturbed = train(settings(photos, tmp_path / "local"), progress=False)
    train_until(6, settings(photos, url))
    assert {name.split("/")[1] for name in files(url)} == {"00000004", "00000005", "00000006"}
    new_process()
    with pytest.raises(UsageError, match="holds an interrupted run with another batch_size"):
        train(settings(photos, url, batch_size=3), progress=False)
    new_process()
    capsys.readouterr()
    result = train(settings(photos, url), progress=False)
    assert capsys.readouterr().err == f"going on from epoch 2, batch 3: {url}/checkpoints/00000006\n"
    assert result.metrics["resumed"]["batch"] + 4 * result.metrics["resumed"]["epoch"] >= 5
    assert [row["loss"] for row in result.metrics["epochs"]] == [row["loss"] for row in undisturbed.metrics["epochs"]]
    assert not [name for name in files(url) if name.startswith("checkpoints/")]
    names = [path.name for path in (tmp_path / "local").iterdir() if path.is_file() and path.name[0] != "."]
    kinds = [[name.partition("-")[0] for name in each] for each in (files(url), sorted(names))]
    assert kinds[0] == kinds[1]  # some hold seconds, and are named by their SHA-256

    new_process()
    loaded = xfer.load(url, backend=BACKEND)
    for name, array in undisturbed.model.weights().items():
        np.testing.assert_array_equal(loaded.weights()[name], array)
    trainer = xfer.Trainer.resume(url, backend=BACKEND, progress=False)
    assert trainer.epoch == 2
    assert trainer.history[-1]["loss"] == undisturbed.metrics["epochs"][-1]["loss"]


def test_the_command_line(photos, url, tmp_path):
    words = ["train", str(photos), "--model", "tiny", "--weights", "none", "--image-size", "16", "--backend", BACKEND]
    words += ["--epochs", "1", "--out", url]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"evaluation: {url}/evaluation.html"
    assert "evaluation.html" in files(url)
    for command in (["evaluate", url, str(photos)], ["predict", url, str(photos / "val")]):
        found = CliRunner().invoke(app, [*command, "--backend", BACKEND, "--json"])
        assert found.exit_code == 0, found.output
    again = CliRunner().invoke(app, ["train", "--out", url, "--resume", "--json"])
    assert json.loads(again.stdout)["config"]["out"] == url
    assert f"{url} is finished" in again.stderr
    # Another run under this URL leaves no file of the first behind.
    before = {name for name in files(url) if name.startswith("model-")}
    assert CliRunner().invoke(app, [*words, "--seed", "1"]).exit_code == 0
    after = [name for name in files(url) if name.startswith("model-")]
    assert len(after) == 1
    assert not before & set(after)


def test_what_was_not_uploaded_whole_is_not_read(photos, memory, capsys):
    train_until(5, settings(photos, memory))
    last, before = (RemotePath(f"{memory}/checkpoints/{name}") for name in ("00000005", "00000004"))
    part = last / next(name for name in last.entries()[0] if name.startswith("model-"))
    content = part.read_bytes()
    damages = (
        lambda: ((last / "manifest.json").write_bytes(manifest), part.write_bytes(content[:-1])),
        lambda: part.remove(),
    )
    manifest = (last / "manifest.json").read_bytes()
    for damage in damages:
        damage()
        new_process()
        runs.fetch_run(memory)
        assert [path.name for path in (runs.run_folder(memory) / "checkpoints").iterdir()] == ["00000004"]
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said.startswith(str(last))
        assert said.endswith("taking the checkpoint before it")
    (before.parent / "00000003").remove()  # one more, which a kill has left there
    (before / "manifest.json").write_bytes(manifest[:-3])
    new_process()
    with pytest.raises(CheckpointError, match=f"^no checkpoint in {memory} is whole: remove {memory}/checkpoints"):
        train(settings(photos, memory), progress=False)


def test_an_upload_that_was_cut_off_is_no_checkpoint(photos, memory, capsys):
    config = settings(photos, memory)
    real = RemotePath.upload

    def cut(self, file):
        if file.name == "manifest.json":
            raise Killed
        real(self, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemotePath, "upload", cut)
        with pytest.raises(Killed):
            train(config, progress=False)
    assert len(files(memory)) > 2
    new_process()
    assert train(config, progress=False).metrics["resumed"] is None
    assert not [name for name in files(memory) if name.startswith("checkpoints/")]


def test_a_manifest_that_names_other_files_is_refused(photos, memory):
    """Nothing is asked for but what xfer writes; what comes is compared with its SHA-256."""
    train(settings(photos, memory), progress=False)
    there = RemotePath(f"{memory}/manifest.json")
    document = checksums.without_checksum(there.read_bytes())
    for name in ("../secret.safetensors", "/etc/passwd", "model-000000000000.safetensors"):
        changed = {"tensors": {**document["tensors"], "name": name}}
        there.write_bytes(checksums.with_checksum(document | changed))
        with pytest.raises(CheckpointError) as caught:
            xfer.load(memory, backend=BACKEND)
        said = (
            "is incomplete: model-000000000000.safetensors is missing"
            if "model" in name
            else "is damaged: its manifest"
        )
        assert str(caught.value).startswith(f"{memory} {said}")


def test_a_store_that_refuses_ends_the_run_in_one_line(photos, memory, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", refuse)
    with pytest.raises(CheckpointError, match=r"^cannot write memory://.*: Access Denied; give credentials"):
        train(settings(photos, memory), progress=False)


def test_other_outputs_are_paths(photos, memory, tmp_path):
    train(settings(photos, memory), progress=False)
    for words in (
        ["predict", memory, str(photos), "--out", f"{memory}/t.csv"],
        ["evaluate", memory, str(photos), "--out", memory],
    ):
        done = CliRunner().invoke(app, [*words, "--backend", BACKEND])
        assert done.exit_code == 2
        assert "is a URL: give a path on this machine" in done.stderr
    with pytest.raises(UsageError, match="is a URL: give a path on this machine"):
        xfer.load(memory, backend=BACKEND).save(memory)
    with pytest.raises(CheckpointError, match=r"^memory://nowhere is not an xfer run: it has no manifest\.json$"):
        xfer.Trainer.resume("memory://nowhere")
