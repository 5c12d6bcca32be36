"""`xfer evaluate`: the table, the JSON document and the folder, on the NumPy backend."""

import csv
import importlib.util
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xfer.cli.app import app
from xfer.evaluation.metrics import METRICS

FILES = {"evaluation.html", "evaluation.json", "per_class.csv", "confusion.csv", "confusion.png", "reliability.png"}


@pytest.fixture
def photos(tmp_path):
    """To judge on, five images of class a and three of class b; of class c, which the model knows, none."""
    rng = np.random.default_rng(0)
    for name, number in (("train/a", 1), ("train/b", 1), ("val/a", 5), ("val/b", 3)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(number):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "photos" / "val" / "a" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.fixture
def evaluate(model, photos, monkeypatch):
    """Runs the command on the photos; whatever run it names is the model."""
    monkeypatch.setattr("xfer.workflows.opening.load", lambda *arguments, **options: model)

    def run(*options):
        return CliRunner().invoke(app, ["evaluate", "run", str(photos), *map(str, options)])

    return run


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_table_has_every_metric(evaluate, model, photos):
    result = evaluate()
    assert result.exit_code == 0, result.stderr
    shown = dict(line.replace("│", " ").split()[:2] for line in result.stdout.splitlines() if line.count("│") == 3)
    found = model.evaluate(str(photos))
    listed = [name for name in METRICS if name != "top5_accuracy"]  # of three classes it says nothing
    assert {name: shown[name] for name in listed} == {
        name: f"{found.metrics[name]:.4f}" if name in found.metrics else "undefined" for name in listed
    }
    assert "top5_accuracy" not in shown
    assert shown["roc_auc"] == "undefined"
    assert shown["images"] == "8"


def test_json_is_a_superset_of_what_it_was(evaluate, model, photos):
    found = json.loads(evaluate("--json").stdout)
    assert {"loss", "accuracy", "macro_f1", "images", "split", "skipped", "backend"} < set(found)
    assert found["undefined"] == ["roc_auc", "average_precision"]
    assert {name: found[name] for name in METRICS if name in found} == model.evaluate(str(photos)).metrics
    assert (found["images"], found["backend"]) == (8, "numpy")
    assert [bad["name"].split("/")[-1] for bad in found["skipped"]] == ["broken.png"]


def test_out_holds_figures_tables_and_plots(evaluate, model, photos, tmp_path):
    out = tmp_path / "new" / "judged"
    result = evaluate("--out", out, "--json")
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in out.iterdir()} == FILES
    assert json.loads((out / "evaluation.json").read_text()) == json.loads(result.stdout)
    expected = model.evaluate(str(photos))
    matrix = rows(out / "confusion.csv")
    assert matrix[0][1:] == [row[0] for row in matrix[1:]] == ["a", "b", "c"]
    np.testing.assert_array_equal(np.array([row[1:] for row in matrix[1:]], int), expected.confusion)
    head, *classes = rows(out / "per_class.csv")
    assert head == ["name", "images", "predicted", "precision", "recall", "f1", "roc_auc", "average_precision"]
    assert [(row[0], row[1]) for row in classes] == [("a", "5"), ("b", "3"), ("c", "0")]
    assert float(classes[0][6]) == expected.per_class()[0].roc_auc
    assert classes[2][6:] == ["", ""]
    for name in ("confusion.png", "reliability.png"):
        with Image.open(out / name) as image:
            assert image.format == "PNG"
            assert len(image.convert("RGB").getcolors(1 << 24)) > 2, "not a blank page"


def test_without_matplotlib_one_line_names_the_extra(evaluate, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else find(name, *a))
    result = evaluate("--out", tmp_path / "judged")
    assert result.exit_code == 1
    assert result.stderr == 'error: the report needs matplotlib: pip install "xfer-learn[report]"\n'
    assert not (tmp_path / "judged").exists()
    assert evaluate("--json").exit_code == 0, "only the plots need it"


def test_a_folder_that_cannot_be_written_is_one_line(evaluate, tmp_path):
    (tmp_path / "file").write_text("")
    result = evaluate("--out", tmp_path / "file" / "judged")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot write into")
    assert result.stderr.count("\n") == 1
