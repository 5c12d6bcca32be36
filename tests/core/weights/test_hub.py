"""Weights and runs from a hub, against a server on loopback that answers huggingface_hub as the hub does."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

import xfer
from tests.suites.hub import OWNER
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.cli.app import app
from xfer.errors import CheckpointError, UsageError, WeightsError
from xfer.testing import NumpyBackend
from xfer.weights.hub import HubAddress, WeightsSource

BACKEND = "xfer.testing:NumpyBackend"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)


def load(model, **options):
    return xfer.load(model, backend=NumpyBackend(), **options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://me/net", HubAddress("me/net")),
        ("hf://me/net@v1", HubAddress("me/net", "v1")),
        ("hf://me/net@v1/a/b.safetensors", HubAddress("me/net", "v1", "a/b.safetensors")),
        ("hf://me/net.1/b.safetensors", HubAddress("me/net.1", None, "b.safetensors")),
        ("hf://me/net@feature%2Fx", HubAddress("me/net", "feature/x")),
        ("hf://me/net@refs/pr/3/b.safetensors", HubAddress("me/net", "refs/pr/3", "b.safetensors")),
    ],
)
def test_addresses(text, expected):
    assert HubAddress.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["hf://net", "hf://", "hf://a/b/", "hf://a/b@", "hf://a/b/../c", "hf://datasets/a/b", "hf://a b/c", "hf://../b"],
)
def test_what_is_no_address(text):
    with pytest.raises(UsageError, match=r"expected hf://owner/repo") as error:
        load(text)
    assert "\n" not in str(error.value)


def test_weights_of_a_repository_and_what_the_manifest_records(hub, model, plain, tmp_path):
    commit = hub.add("me/net", plain)
    found = load("tiny", weights="hf://me/net", image_size=16)
    for name, array in model.weights().items():
        np.testing.assert_array_equal(found.weights()[name], array)
    sha256 = hashlib.sha256(plain["model.safetensors"]).hexdigest()
    expected = WeightsSource("me/net", commit, "model.safetensors", sha256)
    assert found.source == expected
    found.replace_head(["x", "y"])
    found.save(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["source"]["commit"] == commit
    assert load(tmp_path / "run").source == expected
    trainer = xfer.Trainer(found, progress=False)
    trainer.save(tmp_path / "run")
    assert xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend()).model.source == expected


def test_a_revision_and_a_file(hub, model, plain):
    first = hub.add("me/net", {"sub/w.safetensors": plain["model.safetensors"]})
    other = {name: array + 1 for name, array in model.weights().items()}
    second = hub.repos["me/net"].commit("next", {"sub/w.safetensors": save(other)})
    hub.large[hashlib.sha256(save(other)).hexdigest()] = save(other)
    for revision, commit, expected in (
        ("", first, model.weights()),
        ("@next", second, other),
        (f"@{first}", first, model.weights()),
    ):
        found = load("tiny", weights=f"hf://me/net{revision}/sub/w.safetensors", image_size=16)
        assert (found.source.commit, found.source.revision) == (commit, revision[1:] or None)
        np.testing.assert_array_equal(found.weights()["fc.weight"], expected["fc.weight"])


def test_a_run(hub, model, run, tmp_path):
    commit = hub.add("me/run", run)
    for found in (load("hf://me/run"), load("tiny", weights="hf://me/run@main", image_size=16)):
        np.testing.assert_array_equal(found.predict_proba(IMAGES), model.predict_proba(IMAGES))
        assert found.classes == model.classes
        assert found.source.commit == commit
        assert found.source.sha256 == hashlib.sha256(run[found.source.file]).hexdigest()
    with pytest.raises(WeightsError, match="holds a tiny, not a resnet18"):
        load("resnet18", weights="hf://me/run")
    with pytest.raises(UsageError, match="is a file: a run is a repository"):
        load("hf://me/run/model.safetensors")
    hub.add("me/net", {"README.md": b""})
    with pytest.raises(CheckpointError, match="is not an xfer run"):
        load("hf://me/net")
    with pytest.raises(WeightsError, match=r"no file 'model.safetensors' at revision 'main': name the file"):
        load("tiny", weights="hf://me/net")


def test_commands_take_addresses(hub, run, tmp_path):
    from PIL import Image

    hub.add("me/run", run)
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    expected = load("hf://me/run").predict(tmp_path / "a.png")[0]
    arguments = ["predict", "hf://me/run", str(tmp_path / "a.png"), "--backend", BACKEND, "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)[0]
    assert (found["label"], found["probability"]) == (expected.label, expected.probability)
    (tmp_path / "xfer.toml").write_text(f'weights = "hf://me/run"\nbackend = "{BACKEND}"\nmodel = "tiny"\n')
    out = tmp_path / "out"
    arguments = ["train", "digits", "--config", str(tmp_path / "xfer.toml"), "--limit", "20", "--epochs", "1"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(out)])
    assert done.exit_code == 0, done.stderr
    assert open_checkpoint(out).manifest.source.repo == "me/run"


def test_judged_is_what_the_run_on_the_hub_was_not_trained_on(hub, tmp_path, photos):
    """Its metrics.json says which images were held out."""
    options = ["--backend", BACKEND, "--model", "tiny", "--weights", "none", "--image-size", "16", "--epochs", "1"]
    out = tmp_path / "run"
    assert CliRunner().invoke(app, ["train", str(photos), *options, "--out", str(out)]).exit_code == 0
    hub.add("me/run", {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"})
    done = CliRunner().invoke(app, ["evaluate", "hf://me/run", str(photos), "--backend", BACKEND, "--json"])
    assert done.exit_code == 0, done.stderr
    assert "held out" in json.loads(done.stdout)["split"]


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    for i in range(12):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    return tmp_path / "photos"


def test_the_cache_is_that_of_huggingface_hub():
    code = """
import importlib, os
from huggingface_hub import constants
from xfer.runtime.paths import hub_cache
names = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
for given in ({}, {"HF_HOME": "/a"}, {"HF_HUB_CACHE": "/b"}, {"HF_HOME": "/a", "HF_HUB_CACHE": "$HOME/b"},
              {"HUGGINGFACE_HUB_CACHE": "/c"}, {"XDG_CACHE_HOME": "/d"}, {"HF_HOME": "~/e"}):
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(given)
    importlib.reload(constants)
    assert str(hub_cache()) == constants.HF_HUB_CACHE, given
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_token_is_sent_to_another_host(hub, run, monkeypatch):
    """The server refuses a token where large files lie."""
    hub.add("me/run", run, private=True)
    monkeypatch.setenv("HF_TOKEN", OWNER)
    load("hf://me/run")
    assert hub.tokens == {OWNER, ""}
