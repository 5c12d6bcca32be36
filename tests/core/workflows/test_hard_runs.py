"""Whole runs over dirty data on the NumPy backend: what `metrics.json` says of it adds up."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import xfer
from xfer.cli.app import app
from xfer.errors import UsageError
from xfer.workflows.config import run_settings
from xfer.workflows.run import train

SMALL = {"model": "tiny", "weights": "none", "backend": "xfer.testing:NumpyBackend", "image_size": 16, "lr": 0.05}


@pytest.fixture
def table(tmp_path):
    """60 coloured pictures in a table; every third label of train is empty; five files are no pictures."""
    rng = np.random.default_rng(0)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["image", "label", "split"])
        for i in range(60):
            pixels = rng.integers(0, 100, (16, 16, 3))
            pixels[..., i % 2] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
            split = "train" if i < 45 else "val"
            out.writerow([f"{i}.png", "" if i % 3 == 0 else "ab"[i % 2], split])
    for i in (1, 5, 9, 46, 50):
        (tmp_path / f"{i}.png").write_bytes(b"" if i == 1 else b"not a picture")
    return tmp_path / "table.csv"


def run(table, **options):
    out = str(table.parent / "run")
    result = train(run_settings({"data": str(table), "out": out, "epochs": 4, **SMALL, **options}), progress=False)
    return result, json.loads((result.path / "metrics.json").read_text())["data"]


@pytest.mark.parametrize("on_bad", ["report", "impute"])
def test_counts_add_up(table, on_bad):
    result, data = run(table, on_bad=on_bad)
    train_counts, val = data["counts"]["train"], data["counts"]["val"]
    bad = 0 if on_bad == "impute" else 3
    assert train_counts == {"listed": 45, "used": 45 - bad, "unreadable": bad, "imputed": 3 - bad, "unlabelled": 15}
    assert train_counts["used"] == result.metrics["epochs"][0]["images"]
    assert val["listed"] == 15
    assert val["listed"] == val["used"] + val["unreadable"] + val["unlabelled"]
    named = {(bad["name"], bad["reason"], bad["imputed"]) for bad in data["skipped"]}
    imputed = on_bad == "impute"
    assert ("1.png", "the file is empty", imputed) in named
    assert {name for name, _, _ in named} == {"1.png", "5.png", "9.png", "46.png", "50.png"}


def test_pseudo_labels_join_the_run(table):
    result, data = run(table, pseudo_label=0.6, epochs=6, on_bad="impute")
    report = data["pseudo_labels"]
    assert report["unlabelled"] == 15
    assert 0 < len(report["given"]) <= 15
    assert data["counts"]["train"]["unlabelled"] == 15 - len(report["given"])
    readable = [(name, label) for name, label, _ in report["given"] if name != "9.png"]
    assert all(label == "ab"[int(name.removesuffix(".png")) % 2] for name, label in readable)
    assert [row["phase"] for row in result.metrics["epochs"]] == ["head"] * 6 + ["pseudo-label"] * 6


def test_the_command_line_answers_every_task(table):
    text = table.read_text().splitlines()
    rows = [f"{line},{i}" if i else f"{line},size" for i, line in enumerate(text)]
    table.write_text("\n".join(rows) + "\n")
    run(table, tasks={"label": "single-label", "size": "regression"})
    folder, picture = table.parent / "run", table.parent / "2.png"
    options = ["--backend", SMALL["backend"]]
    found = CliRunner().invoke(app, ["predict", str(folder), str(picture), *options, "--json"])
    assert found.exit_code == 0, found.stderr
    (answer,) = json.loads(found.stdout)
    model = xfer.load(folder, backend=SMALL["backend"])
    expected = model.predict_tasks([picture])
    assert answer["label"] == pytest.approx(dict(zip("ab", expected["label"][0].tolist(), strict=True)))
    assert answer["size"] == pytest.approx({"size": float(expected["size"][0, 0])})
    shown = CliRunner().invoke(app, ["predict", str(folder), str(picture), *options])
    assert shown.stdout.startswith(f"{picture}: label ")
    judged = CliRunner().invoke(app, ["evaluate", str(folder), str(table), *options])
    assert "size_mae" in judged.stdout


def test_what_does_not_go_together(table):
    with pytest.raises(UsageError, match="leave out augment and mix"):
        run(table, resample="smote", mix="mixup")
    with pytest.raises(UsageError, match="no gradient"):
        run(table, estimator="knn", fine_tune=1)
    with pytest.raises(xfer.XferError, match="unknown class in class_weights 'c'"):
        run(table, class_weights={"c": 2.0})
