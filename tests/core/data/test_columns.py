"""Columns beside the images: imputed and encoded as scikit-learn does, by train alone, and joined to the features."""

import csv
import math

import numpy as np
import pytest
from PIL import Image
from sklearn.impute import KNNImputer, SimpleImputer

import xfer
from xfer.data.columns import Columns
from xfer.errors import CheckpointError, DataError, UsageError
from xfer.testing import NumpyBackend

ROWS = [
    ("a", "1", "x"), ("b", "", "y"), ("a", "3", ""), ("b", "8", "x"), ("a", "2", "y"), ("b", "7", "x"),
    ("a", "1", "x"), ("b", "9", "y"),
]  # fmt: skip
HELD = [("a", "2", "z"), ("b", "", "x")]


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["image", "label", "age", "place", "split"])
        for i, (row, split) in enumerate([*((r, "train") for r in ROWS), *((r, "val") for r in HELD)]):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
            out.writerow([f"{i}.png", *row, split])
    return xfer.data.manifest(tmp_path / "table.csv", columns=["age", "place"])


AGES = np.array([[float(r[1]) if r[1] else math.nan] for r in ROWS])


@pytest.mark.parametrize(
    ("name", "imputer"),
    [("mean", SimpleImputer(strategy="mean")), ("median", SimpleImputer(strategy="median")), ("knn", KNNImputer())],
)
def test_numbers_are_imputed_and_scaled_by_train_alone(data, name, imputer):
    columns = Columns.fit(data, name)
    filled = imputer.fit_transform(AGES)
    found = columns.transform(data.train.columns)
    np.testing.assert_allclose(found[:, 0], (filled[:, 0] - filled.mean()) / filled.std())
    held = columns.transform(data.val.columns)
    assert held[1, 0] == pytest.approx((imputer.transform([[math.nan]])[0, 0] - filled.mean()) / filled.std())
    # where it was missing, standardised: one of eight in train
    assert np.unique(found[:, 1].round(9)).size == 2
    assert held[1, 1] == found[1, 1]


def test_categories_are_one_hot_with_missing_as_one(data):
    columns = Columns.fit(data)
    assert columns.width == 5  # age, where it is missing, and three categories
    assert columns.transform([("1", "x"), ("1", None), ("1", "y"), ("1", "new")])[:, 2:].tolist() == [
        [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0],
    ]  # fmt: skip


def test_a_model_reads_them_and_keeps_what_it_learnt(data, tmp_path):
    columns = Columns.fit(data)
    model = xfer.load(
        "tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=16, columns=columns
    )
    model.freeze()
    trainer = xfer.Trainer(model, lr=0.1, progress=False, batch_size=4)
    rows = trainer.fit(data, 15)
    assert rows[-1]["loss"] < 0.3, "age and place tell the classes apart; the pixels are noise"
    trainer.save(tmp_path / "run")
    again = xfer.load(tmp_path / "run", backend=NumpyBackend())
    assert again.evaluate(data).metrics == model.evaluate(data).metrics
    picture = tmp_path / "0.png"
    by_name = again.predict_proba([picture, picture], columns=[{"place": "x", "age": 1}, {"place": "y", "age": None}])
    np.testing.assert_array_equal(by_name, again.predict_proba([picture, picture], columns=[(1, "x"), ("", "y")]))
    assert np.abs(by_name[0] - by_name[1]).max() > 0
    with pytest.raises(DataError, match="reads columns age, place beside the image: the data has none"):
        again.predict(picture)
    file = next((tmp_path / "run").glob("columns-*.skops"))
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="is damaged"):
        xfer.load(tmp_path / "run", backend=NumpyBackend())


def test_features_can_be_extracted_and_columns_stay(data):
    columns = Columns.fit(data)
    model = xfer.load(
        "tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=16, columns=columns
    )
    features = xfer.extract(model, data)
    assert model.evaluate(features).metrics == model.evaluate(data).metrics


def test_refusals(data):
    plain = xfer.Data(xfer.data.Split(["x"], [0], ["x"], ("a",)), None, None, ("a",), "plain")
    with pytest.raises(UsageError, match="plain has no columns"):
        Columns.fit(plain)
    columns = Columns.fit(data)
    with pytest.raises(DataError, match="column 'age' is 'old': train has numbers there"):
        columns.transform([("old", "x")])
    with pytest.raises(DataError, match="a row has 1 columns: expected age, place"):
        columns.transform([("1",)])
    with pytest.raises(DataError, match="has no column 'weight'"):
        xfer.data.manifest(data.source, columns=["weight"])
