"""Weights and runs from a hub, against a server on loopback that answers huggingface_hub as the hub does."""

import hashlib
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

import xfer
from tests.suites.hub import OWNER, READER
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.cli.app import app
from xfer.errors import CheckpointError, UsageError, WeightsError, XferError
from xfer.runtime import checksums
from xfer.runtime.files import read_inside
from xfer.testing import NumpyBackend
from xfer.weights.hub import HubAddress, WeightsSource

BACKEND = "xfer.testing:NumpyBackend"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)


def load(model, **options):
    return xfer.load(model, backend=NumpyBackend(), **options)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@pytest.fixture
def run(model, tmp_path):
    """The files of a run, by name."""
    model.save(tmp_path / "run")
    return files_of(tmp_path / "run")


@pytest.fixture
def plain(model):
    """Weights as anyone publishes them."""
    return {"model.safetensors": save(model.weights()), "README.md": b"weights"}


def cached(tmp_path):
    """The finished files in the cache."""
    return sorted(p.name for p in (tmp_path / "huggingface").rglob("*.safetensors"))


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
    hub.add("me/run", {name: content for name, content in files_of(out).items() if not name.startswith("history")})
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


@pytest.mark.parametrize("name", ["model.pth", "pytorch_model.bin", "model.h5", "x.pkl"])
def test_only_safetensors(hub, plain, name):
    hub.add("me/net", {name: plain["model.safetensors"]})
    with pytest.raises(UsageError, match=r"only \.safetensors files"):
        load("tiny", weights=f"hf://me/net/{name}")
    assert hub.requests == []


class Planted:
    """What executes where a pickle is loaded as one."""

    def __reduce__(self):
        return os._exit, (66,)


@pytest.mark.parametrize("size", [10, 5000])
def test_a_pickle_that_is_called_safetensors(hub, size):
    hub.add("me/net", {"model.safetensors": pickle.dumps([b"x" * size, Planted()])})
    with pytest.raises(WeightsError, match="is damaged or not a safetensors file"):
        load("tiny", weights="hf://me/net")


def test_bytes_that_are_not_what_the_hub_has_promised(hub, model, plain, tmp_path):
    hub.add("me/net", plain)
    content = plain["model.safetensors"]
    digest = hashlib.sha256(content).hexdigest()
    hub.large[digest] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(WeightsError, match=r"is damaged: remove (.*) and run again") as error:
        load("tiny", weights="hf://me/net", image_size=16)
    hub.large[digest] = content
    os.remove(str(error.value).split("remove ")[1].split(" and run")[0])  # noqa: PTH107 - as the message says
    found = load("tiny", weights="hf://me/net", image_size=16)
    np.testing.assert_array_equal(found.weights()["fc.weight"], model.weights()["fc.weight"])


def test_a_run_with_a_flipped_bit(hub, run):
    name = next(name for name in run if name.startswith("model-"))
    changed = run[name][:-1] + bytes([run[name][-1] ^ 1])
    hub.add("me/run", {**run, name: changed})
    with pytest.raises(CheckpointError, match="its SHA-256 is not the manifest's"):
        load("hf://me/run")


@pytest.mark.parametrize("name", ["../model-0123456789ab.safetensors", "secret.pkl", "model-0123456789ab.pth", "a/b"])
def test_a_manifest_that_names_other_files(hub, run, name):
    document = checksums.without_checksum(run["manifest.json"])
    document["tensors"]["name"] = name
    hub.add("me/run", {**run, "manifest.json": checksums.with_checksum(document), "secret.pkl": b"x"})
    with pytest.raises(CheckpointError, match="its manifest names"):
        load("hf://me/run")
    assert not [line for line in hub.requests if "manifest.json" not in line and "resolve" in line]


def test_a_manifest_without_end_is_not_downloaded(hub, run):
    hub.add("me/run", {**run, "manifest.json": b" " * (checksums.LIMIT + 1)})
    with pytest.raises(WeightsError, match=r"at most 8,388,608 are downloaded"):
        load("hf://me/run")
    assert hub.ranges == []


def test_a_link_in_the_cache_that_leads_elsewhere(hub, run, tmp_path):
    hub.add("me/run", run)
    folder = open_checkpoint("hf://me/run").path
    assert read_inside(folder, "manifest.json") == run["manifest.json"]
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "huggingface" / "secret").write_text("secret")
    for place in (tmp_path / "secret", tmp_path / "huggingface" / "secret"):
        (folder / "manifest.json").unlink()
        (folder / "manifest.json").symlink_to(place)
        with pytest.raises(CheckpointError, match="is a link that leads outside"):
            load(folder)
    outside = tmp_path / "models--a--b" / "snapshots" / "1"  # as the cache has it, but not in the cache
    outside.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (tmp_path / "models--a--b" / "blobs" / "x").write_bytes(run["manifest.json"])
    (outside / "manifest.json").symlink_to("../../blobs/x")
    with pytest.raises(CheckpointError, match="is a link that leads outside"):
        load(outside)


def test_a_private_repository(hub, model, run, monkeypatch):
    hub.add("me/run", run, private=True)
    with pytest.raises(WeightsError, match=r"hf://me/run is not on http.*, or is private: .*HF_TOKEN"):
        load("hf://me/run")
    monkeypatch.setenv("HF_TOKEN", READER)
    np.testing.assert_array_equal(load("hf://me/run").predict_proba(IMAGES), model.predict_proba(IMAGES))


def test_what_goes_wrong_is_one_line(hub, run, monkeypatch, tmp_path):
    hub.add("me/run", run)
    hub.add("me/gated", run, gated=True)
    picture = tmp_path / "x.png"
    picture.write_bytes(b"")
    monkeypatch.setenv("HF_TOKEN", READER)
    for address, message in (
        ("hf://me/nothing", "hf://me/nothing is not on http.*check the name, or log in"),
        ("hf://me/gated", "hf://me/gated is gated: accept its terms at http.*/me/gated"),
        ("hf://me/run@v9", r"hf://me/run has no revision 'v9': give a branch, a tag or a commit"),
        ("hf://me/" + "x" * 200, "hf://me/x+: "),
    ):
        refused(address, message, picture)
    hub.down = True
    refused("hf://me/run", r"is not in .*huggingface/hub, and http.* cannot be reached \(HfHubHTTPError\)", picture)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused("hf://me/run", r"http://127.0.0.1:9 cannot be reached \(ConnectError\): check the connection", picture)


def refused(address, message, picture):
    with pytest.raises(XferError, match=message) as error:
        load(address)
    assert "\n" not in str(error.value)
    assert READER not in str(error.value)
    done = CliRunner().invoke(app, ["predict", address, str(picture), "--backend", BACKEND])
    assert done.exit_code in (1, 2)
    assert str(error.value) in done.stderr
    assert READER not in done.output


def test_a_broken_connection_is_resumed(hub, model, plain, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # what it resumes from a multiple of
    hub.add("me/net", plain)
    hub.cut, hub.cuts = 1000, 2
    found = load("tiny", weights="hf://me/net", image_size=16)
    np.testing.assert_array_equal(found.weights()["fc.weight"], model.weights()["fc.weight"])
    assert hub.ranges == [0, 1000, 2000]


def test_a_connection_that_stays_broken_leaves_nothing_that_could_be_loaded(hub, model, run, tmp_path):
    hub.add("me/run", run)
    hub.cut, hub.cuts = 0, 99
    for _ in range(2):
        with pytest.raises(WeightsError, match=r"hf://me/run: the connection to http.* broke .*: run again") as error:
            load("hf://me/run")
        assert "\n" not in str(error.value)
        assert cached(tmp_path) == []
    hub.cuts = 0
    np.testing.assert_array_equal(load("hf://me/run").predict_proba(IMAGES), model.predict_proba(IMAGES))
    assert len(cached(tmp_path)) == 1


def test_offline(hub, model, run, plain, monkeypatch):
    from huggingface_hub import constants

    hub.add("me/run", run)
    hub.add("me/net", plain)
    hub.add("me/other", run)
    load("hf://me/run")
    load("tiny", weights="hf://me/net", image_size=16)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    np.testing.assert_array_equal(load("hf://me/run").predict_proba(IMAGES), model.predict_proba(IMAGES))
    assert load("tiny", weights="hf://me/net", image_size=16).source.repo == "me/net"
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set: unset it to download"):
        load("hf://me/other")
    assert hub.requests == []


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r'pip install "xfer-learn\[hub\]"'):
        load("hf://me/run")


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
