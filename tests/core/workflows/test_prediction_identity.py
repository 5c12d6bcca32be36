"""By what a table of predictions knows its model again, in another process too; and how large "auto" batches are."""

import csv
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from typer.testing import CliRunner

import xfer
from xfer.cli.app import app
from xfer.data import manifest
from xfer.data.sources.lists import listed
from xfer.testing import NumpyBackend
from xfer.training.batch_size import largest_pass
from xfer.workflows.prediction.identity import images_identity, model_identity
from xfer.workflows.prediction.maker import images_a_pass

BACKEND = "xfer.testing:NumpyBackend"
PRINT = """
import sys, xfer
from xfer.workflows.prediction.identity import model_identity
print(model_identity(xfer.load(sys.argv[1], backend=sys.argv[2]))["model"])
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    rows = ["image,label,age,place,more"]
    for i in range(24):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{'ab'[i % 2]},{'' if i % 5 == 0 else i},{'xyz'[i % 3]},{i}")
    (folder / "photos.csv").write_text("\n".join(rows))
    return folder / "photos.csv"


def trained(table, estimator, columns=("age", "place"), imputer="median"):
    data = manifest(table, columns=columns)
    fitted = xfer.Columns.fit(data, imputer) if columns else None
    options = {"weights": None, "image_size": 16, "columns": fitted, "head": xfer.Head.sklearn(estimator)}
    model = xfer.load("tiny", backend=NumpyBackend(), classes=data.classes, **options)
    xfer.Trainer(model, progress=False).fit(data)
    return model


@pytest.mark.long
def test_a_model_is_known_again_in_another_process(table, tmp_path):
    """With a forest, whose trees hold bytes that are not set, and a transformer of columns."""
    forest = RandomForestClassifier(3, random_state=0)
    model = trained(table, forest)
    model.save(tmp_path / "run")
    expected = model_identity(xfer.load(tmp_path / "run", backend=NumpyBackend()))
    assert model_identity(xfer.load(tmp_path / "run", backend=NumpyBackend())) == expected
    command = [sys.executable, "-c", PRINT, str(tmp_path / "run"), BACKEND]
    done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected["model"]
    others = [trained(table, RandomForestClassifier(3, random_state=1)), trained(table, forest, imputer="mean")]
    for changed in (*others, trained(table, forest, ("age",))):
        assert model_identity(changed)["model"] != model_identity(model)["model"]
        changed.save(tmp_path / "other")
        assert model_identity(xfer.load(tmp_path / "other", backend=NumpyBackend()))["model"] != expected["model"]


def test_an_ensemble_is_its_members_and_weights(model):
    other = xfer.load("tiny", backend=NumpyBackend(), weights=None, seed=1, classes=model.classes, image_size=16)
    head = {name: array for name, array in other.weights().items() if name.startswith("fc.")}
    member = type(xfer.Ensemble((model,)).members[0])
    ensembles = [
        xfer.Ensemble((model, other)),
        xfer.Ensemble((other, model)),
        xfer.Ensemble((model, other), (1, 2)),
        xfer.Ensemble((model, model)),
        xfer.Ensemble((model, member(model, head))),
    ]
    assert len({model_identity(each)["model"] for each in ensembles}) == 5
    assert model_identity(ensembles[0]) == model_identity(xfer.Ensemble((model, other)))


def test_the_cells_beside_the_images_count(table, tmp_path):
    text = table.read_text()
    (table.parent / "other.csv").write_text(text.replace("1.png,b,1,y", "1.png,b,2,y"))
    (table.parent / "same.csv").write_text(text)
    first, other, same = (
        images_identity(listed([table.with_name(f"{name}.csv")], ("age", "place")))
        for name in ("photos", "other", "same")
    )
    assert first == same != other


def test_the_command_reads_the_columns_of_a_table(table, tmp_path):
    model = trained(table, RandomForestClassifier(5, random_state=0))
    model.save(tmp_path / "run")
    command = ["predict", str(tmp_path / "run"), "--backend", BACKEND]
    done = CliRunner().invoke(app, [*command, str(table), "--out", str(tmp_path / "t.csv")])
    assert done.exit_code == 0, done.stderr
    expected = model.predict(manifest(table, columns=("age", "place"), val=0).train)
    with (tmp_path / "t.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["path"] for row in found] == [f"{i}.png" for i in range(24)]
    assert [row["label"] for row in found] == [p.label for p in expected]
    assert [np.float32(row["probability"]) for row in found] == [p.probability for p in expected]
    refused = CliRunner().invoke(app, [*command, str(table.parent), "--out", str(tmp_path / "u.csv")])
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "the model reads columns age, place beside the image: give a table of them" in refused.stderr


def test_auto_is_32_on_the_host_and_what_fits_on_an_accelerator(model, monkeypatch):
    assert images_a_pass(model, 7) == 7
    assert images_a_pass(model, "auto") == 32
    model.spec = replace(model.spec, device="cuda:0")
    tried = []

    def logits(inputs):
        tried.append(len(inputs))
        if len(inputs) > 20:
            raise MemoryError

    monkeypatch.setattr(model, "logits", logits)
    monkeypatch.setattr(model.backend, "out_of_memory", lambda error: isinstance(error, MemoryError))
    assert images_a_pass(model, "auto") == 16
    assert tried == [1, 2, 4, 8, 16, 32]
    assert largest_pass(lambda number: None, lambda error: False) == 256
