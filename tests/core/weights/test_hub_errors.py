"""What a hub, or what lies on it, may do wrong: one line each, nothing executed, and never half a file."""

import hashlib
import os
import pickle
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import xfer
from tests.suites.hub import READER
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.cli.app import app
from xfer.errors import CheckpointError, UsageError, WeightsError, XferError
from xfer.runtime import checksums
from xfer.runtime.files import read_inside
from xfer.testing import NumpyBackend

BACKEND = "xfer.testing:NumpyBackend"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)


def load(model, **options):
    return xfer.load(model, backend=NumpyBackend(), **options)


def cached(tmp_path):
    """The finished files in the cache."""
    return sorted(p.name for p in (tmp_path / "huggingface").rglob("*.safetensors"))


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
