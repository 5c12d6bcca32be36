"""Overlays, and what `xfer explain` writes, on the NumPy backend."""

import json
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import xfer
from xfer.cli.app import app
from xfer.errors import UsageError
from xfer.report.explanations import PAGE, overlay_name
from xfer.report.overlay import colours, overlay
from xfer.testing import NumpyBackend
from xfer.workflows.ensemble import Ensemble


def pixels(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3)).astype(np.uint8)


@pytest.fixture
def model():
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=("ant", "b<i>e"), image_size=16)


@pytest.fixture
def photos(tmp_path):
    """Two images of one name, one with a hostile name, and one that cannot be read."""
    for name in ("x/a.png", "y/a.png", "x/<img src=q onerror='1'>&\"\n.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(len(name))).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "y" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def command(model, monkeypatch):
    monkeypatch.setattr("xfer.workflows.opening.load", lambda *arguments, **options: model)
    return lambda *arguments: CliRunner().invoke(app, ["explain", "run", *map(str, arguments)])


def test_the_colours_are_matplotlibs_inferno():
    theirs = np.array(matplotlib.colormaps["inferno"].colors) * 255
    ours = colours(np.linspace(0, 1, 256))
    assert np.abs(ours - theirs).max() < 6
    light = ours @ [0.299, 0.587, 0.114]
    assert (np.diff(light) > 0).all()


def test_an_overlay_is_brightest_where_the_map_is():
    heat = np.zeros((16, 16))
    heat[2, 13] = 1
    for image in (np.full((16, 16, 3), 90, np.uint8), Image.new("RGB", (16, 16), (90, 90, 90))):
        found = np.asarray(overlay(image, heat)).astype(int).sum(axis=2)
        assert found.argmax() == 2 * 16 + 13
        assert found[0, 0] < 270
    for image, bad in ((pixels(), np.zeros((8, 8))), (pixels(), np.full((16, 16), np.nan)), (pixels(), heat * 2)):
        with pytest.raises(UsageError, match="an overlay was given"):
            overlay(image, bad)


def test_the_command_writes_an_overlay_for_each_image_and_a_page(command, model, photos, tmp_path):
    out = tmp_path / "new" / "out"
    result = command(photos, "--out", out, "--json", "--batch-size", 2)
    assert result.exit_code == 1
    assert re.fullmatch(r"error: cannot read .*broken\.png: .*\n", result.stderr)
    found = json.loads(result.stdout)
    assert (found["method"], found["block"], found["page"]) == ("grad-cam", "layer1", PAGE)
    assert [name.rpartition("/")[2] for name in found["unreadable"]] == ["broken.png"]
    overlays = [row["overlay"] for row in found["images"]]
    assert sorted(path.name for path in out.iterdir()) == sorted([*overlays, PAGE])
    assert len(set(overlays)) == 3
    assert all(re.fullmatch(r"[\w.-]+\.png", name) for name in overlays)
    for row in found["images"]:
        (prediction,) = model.predict(row["image"])
        assert (row["target"], row["label"]) == (prediction.label, prediction.label)
        assert row["target_output"] == pytest.approx(prediction.probability)
        expected = model.explain(row["image"])
        with Image.open(out / row["overlay"]) as image:
            np.testing.assert_array_equal(np.asarray(image), np.asarray(overlay(expected.images[0], expected.maps[0])))
    page = (out / PAGE).read_text("utf-8")
    assert "<img src=q" not in page
    assert "b<i>e" not in page
    assert page.count("data:image/jpeg;base64,") == 6
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_the_command_takes_a_target_and_a_method(command, photos, tmp_path):
    first = photos / "x" / "a.png"
    result = command(first, "--out", tmp_path / "o", "--target", "1", "--method", "occlusion", "--patch", 8, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["method"], found["block"], found["images"][0]["target"]) == ("occlusion", None, "b<i>e")
    shown = command(first, "--out", tmp_path / "o", "--target", "ant")
    assert "0001-a.png" in shown.stdout


def test_what_cannot_be_explained_is_refused_before_anything_is_written(command, photos, tmp_path, monkeypatch, model):
    for options, message in (
        (("--target", "wasp"), "unknown target 'wasp'"),
        (("--target", "7"), "target 7"),
        (("--block", "layr1"), "did you mean 'layer1'"),
        (("--patch", "4"), "option of method='occlusion'"),
        (("--method", "occlusion", "--patch", "400"), "patch=400"),
    ):
        result = command(photos, "--out", tmp_path / "out", *options)
        assert result.exit_code == 2, options
        assert message in result.stderr
        assert not (tmp_path / "out").exists()
    monkeypatch.setattr("xfer.cli.explain.open_model", lambda *arguments: Ensemble((model, model)))
    result = command(photos, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "ensemble of 2 models has no map of its own" in result.stderr


def test_names_of_overlays():
    assert overlay_name(7, "photos/ä b/../c:d?.JPG") == "0007-c_d.png"
    assert overlay_name(12345, "???") == "12345.png"
    assert len(overlay_name(1, "a" * 300)) < 80
