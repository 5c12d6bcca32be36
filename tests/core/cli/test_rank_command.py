"""`xfer rank`: the table, the JSON document and the folder, on the NumPy backend."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xfer.cli.app import app
from xfer.testing import NumpyBackend

KEYS = ["model", "logme", "probe_accuracy", "interval", "knn_accuracy", "seconds_per_image", "parameters"]


@pytest.fixture
def rank(tmp_path, monkeypatch):
    """Runs the command on 30 photos in three classes, of which one is damaged."""
    monkeypatch.setattr("xfer.workflows.ranking.job.any_backend", lambda name: NumpyBackend())
    rng = np.random.default_rng(0)
    for i in range(36):
        folder = tmp_path / "photos" / ("val" if i < 6 else "train") / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "broken\nfile.png").write_bytes(b"no picture")

    def run(*options, data=tmp_path / "photos"):
        return CliRunner().invoke(app, ["rank", str(data), "--image-size", "16", *map(str, options)])

    return run


def test_json_is_the_document(rank):
    result = rank("--models", "tiny:none,resnet18", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    (row,) = found["ranking"]
    assert [key for key in row if key in KEYS] == KEYS
    assert row["model"] == "tiny:none"
    assert 0 <= row["interval"][0] <= row["probe_accuracy"] <= row["interval"][1] <= 1
    assert row["seconds_per_image"] > 0
    assert [each["model"] for each in found["left_out"]] == ["resnet18"]
    assert found["data"]["skipped"][0]["reason"]
    assert shlex.split(found["train"])[:2] == ["xfer", "train"]


def test_what_xfer_features_has_computed_is_not_computed_again(rank, tmp_path, monkeypatch):
    monkeypatch.setenv("XFER_FEATURES", str(tmp_path / "features"))
    words = ["--model", "tiny", "--weights", "none", "--image-size", "16", "--backend", "xfer.testing:NumpyBackend"]
    made = CliRunner().invoke(app, ["features", str(tmp_path / "photos"), *words])
    assert made.exit_code == 0, made.stderr
    found = rank("--models", "tiny:none", "--json")
    assert json.loads(found.stdout)["ranking"][0]["computed"] == 0


def test_the_table_and_the_page(rank, tmp_path):
    result = rank("--models", "tiny:none", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "LogME"]
    assert lines[1].split()[0] == "tiny:none"
    assert "cannot be read" in result.stdout
    assert "broken\\nfile.png" in result.stdout  # one line
    assert f"train the first: xfer train {tmp_path / 'photos'} --model tiny --weights none" in result.stdout
    assert (tmp_path / "out" / "ranking.html").exists()


def test_wrong_use_is_one_line_and_exit_code_2(rank, tmp_path):
    (tmp_path / "xfer.toml").write_text('tasks = "a=single-label,b=regression"\nepochs = 3\n')
    for options in (
        ["--models", "tinny"],
        ["--models", ","],
        ["--models", "tiny", "--under", "30M"],
        ["--models", "tiny", "--config", tmp_path / "xfer.toml"],
    ):
        result = rank(*options)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert result.stdout == ""


def test_a_file_of_training_options_is_read(rank, tmp_path):
    """Options of training that do not matter here are no error."""
    (tmp_path / "xfer.toml").write_text('epochs = 3\nmodel = "tiny"\nseed = 4\nlimit = 12\n')
    result = rank("--models", "tiny:none", "--json", "--config", tmp_path / "xfer.toml")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["probe"]["seed"] == 4
    assert found["data"]["used"] + len(found["data"]["skipped"]) == 12
    assert found["data"]["untouched"] == 6
