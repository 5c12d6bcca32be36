"""The forms in which people have their data: what is empty, who is in which split, which number is which class."""

import numpy as np
import pandas
import pytest
from PIL import Image, ImageFile

import xfer
from xfer.data import load, manifest
from xfer.data.columns import Columns
from xfer.data.empty import EMPTY, is_empty
from xfer.data.images.decode import BadImageError, decode
from xfer.data.sources.assembly import hold_out
from xfer.errors import DataError

TEXTS = sorted(EMPTY)
VALUES = [None, float("nan"), np.float32("nan"), pandas.NA, pandas.NaT, np.datetime64("NaT"), " NA "]


@pytest.mark.parametrize("cell", [*TEXTS, *VALUES], ids=repr)
def test_what_is_empty(cell):
    assert is_empty(cell)


@pytest.mark.parametrize("cell", ["none", "0", 0, False, "na", "nil", [], np.zeros(2), b"", "N/A."], ids=repr)
def test_what_is_not(cell):
    assert not is_empty(cell)


def test_the_texts_are_those_of_pandas():
    from pandas._libs.parsers import STR_NA_VALUES

    assert EMPTY == STR_NA_VALUES


@pytest.fixture
def root(tree):
    return tree({"img": 12})


def write(root, kind, columns):
    frame = pandas.DataFrame({"image": [f"img/{i}.png" for i in range(12)], **columns})
    path = root / f"table.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False, na_rep="")
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_empty_means_the_same_everywhere(root, kind, text):
    """In a column of numbers, as a label, and as a target of each kind."""
    numbers = [text if i == 3 else str(i / 2) for i in range(12)]
    labels = [text if i == 5 else "ab"[i % 2] for i in range(12)]
    path = write(root, kind, {"label": labels, "size": numbers})
    data = manifest(path, columns=["size"], val=0)
    assert data.classes == ("a", "b")
    assert np.flatnonzero(data.train.labels < 0).tolist() == [5]
    assert data.train.columns[3, 0] is None
    columns = Columns.fit(data)
    assert columns.numeric == (True,)
    assert columns.width == 2, "the number, and whether it was missing"
    kinds = {"label": "single-label", "size": "regression"}
    tasks = manifest(path, tasks=kinds, val=0)
    assert np.argwhere(np.isnan(tasks.train.targets)).tolist() == [[3, 1], [5, 0]]
    assert ("are taken for no label" in data.describe()) == bool(text)


def test_nullable_types_of_parquet(root):
    columns = {
        "label": pandas.array([1, 2, None, 1] * 3, dtype="Int64"),
        "size": pandas.array([1.5, None, 2.5, 3.5] * 3, dtype="Float64"),
        "flag": pandas.array([True, False, None, True] * 3, dtype="boolean"),
        "name": pandas.array(["x", "y", None, "y"] * 3, dtype="string"),
    }
    path = write(root, "parquet", columns)
    data = manifest(path, columns=["size"], val=0)
    assert data.classes == ("1", "2")
    assert data.train.labels.tolist() == [0, 1, -1, 0] * 3
    assert Columns.fit(data).numeric == (True,)
    assert manifest(path, label="flag", val=0).classes == ("False", "True")
    assert manifest(path, label="name", val=0).train.labels.tolist() == [0, 1, -1, 1] * 3


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([1, 2, None] * 4, ("1", "2")),  # pandas makes floats of them
        ([b"bee", b"ant", b"ant"] * 4, ("ant", "bee")),
        ([True, False, True] * 4, ("False", "True")),
        ([10, 9, 10] * 4, ("9", "10")),
    ],
)
def test_kinds_of_labels_of_parquet(root, labels, classes):
    assert manifest(write(root, "parquet", {"label": labels}), val=0).classes == classes


def test_labels_that_are_none(root):
    with pytest.raises(DataError, match=r"row 1: column 'label'"):
        manifest(write(root, "parquet", {"label": [0.5, 1.5] * 6}))
    (root / "twice.csv").write_text("image,label,label\nimg/0.png,a,b\n")
    with pytest.raises(DataError, match="two columns 'label': rename one"):
        manifest(root / "twice.csv")


def test_rows_of_one_file_stay_together(root):
    """Else what is trained on would be validated on."""
    rows = [f"img/{i}.png,{'ab'[i % 2]}" for i in range(12)]
    (root / "t.csv").write_text("\n".join(["image,label", *rows, *(row.replace("img/", "./img//") for row in rows)]))
    for seed in range(5):
        data = manifest(root / "t.csv", seed=seed, val=0.3)
        assert not set(data.train.names) & set(data.val.names)
        assert len(data.train) + len(data.val) == 24
    (root / "s.csv").write_text("image,label,split\n" + "".join(f"{r},{s}\n" for r in rows for s in ("train", "val")))
    assert "12 files are both in train and in val" in manifest(root / "s.csv").notes


def test_every_class_is_held_out():
    labels = np.array([0] * 60 + [1] * 30 + [2, 2] + [3])
    for seed in range(10):
        kept, held = hold_out(labels, 0.1, seed)
        assert set(labels[held]) == {0, 1, 2}
        assert set(labels[kept]) == {0, 1, 2, 3}
        assert sorted([*kept, *held]) == list(range(len(labels)))


X = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)


class Folder:
    """A data set with a list of classes of its own, as torchvision's `ImageFolder`."""

    def __init__(self, classes, targets):
        self.classes, self.targets = classes, targets

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return X[index], self.targets[index]


def test_each_split_is_read_by_its_own_names():
    data = load({"train": Folder(["ant", "bee", "cat"], [0, 1, 2]), "val": Folder(["bee", "cat"], [0, 1, 1])})
    assert [data.classes[i] for i in data.val.labels] == ["bee", "cat", "cat"]
    with pytest.raises(DataError, match="val has class 'zebra', which train lacks"):
        load({"train": Folder(["ant", "bee"], [0, 1]), "val": Folder(["bee", "zebra"], [1])})


def test_hugging_faces_splits():
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["ant", "bee"])
    features = datasets.Features({"image": datasets.Image(), "label": names})

    def made(labels):
        rows = {"image": [Image.fromarray(X[i]) for i in range(len(labels))], "label": labels}
        return datasets.Dataset.from_dict(rows, features=features)

    found = datasets.DatasetDict(train=made([0, 1, 0, 1]), validation=made([1]), test=made([0]), unsupervised=made([0]))
    for data in (load(found), xfer.data.wrap(found)):
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "val": 1, "test": 1}
        assert data.classes == ("ant", "bee")
        assert "the splits unsupervised were left out: they are not train, val or test" in data.notes


def test_labels_in_a_column():
    split = xfer.data.Split(X, np.arange(6)[:, None] % 2, list("abcdef"))
    assert split.labels.tolist() == [0, 1, 0, 1, 0, 1]
    with pytest.raises(DataError, match="labels have shape"):
        xfer.data.Split(X, np.eye(6), list("abcdef"))


def test_an_image_with_a_one_hot_label_is_no_batch():
    """Of as many classes as it has rows."""
    pairs = [(X[0], np.eye(8)[3]), (X[1], np.eye(8)[4])]
    with pytest.raises(DataError, match="argmax of one-hot"):
        load(iter(pairs))


def test_an_iterable_data_set_with_a_length():
    class IterableDataset:
        def __getitem__(self, index):
            raise NotImplementedError

        def __len__(self):
            return 6

        def __iter__(self):
            return iter(zip(X, [0, 1] * 3, strict=True))

    assert len(load(IterableDataset(), val=0).train) == 6


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_tiffs_of_32_bits(tmp_path, kind):
    grey = np.arange(64).reshape(8, 8) * 4
    Image.fromarray(grey.astype(kind)).save(tmp_path / "grey.tiff")
    found = np.asarray(decode(tmp_path / "grey.tiff"))[..., 0]
    np.testing.assert_array_equal(found, grey)
    Image.fromarray((grey * 257).astype(np.int32)).save(tmp_path / "wide.tiff")
    np.testing.assert_array_equal(np.asarray(decode(tmp_path / "wide.tiff"))[..., 0], grey)


def test_what_is_cut_off_is_refused_whatever_pillow_is_told(tmp_path, photo, monkeypatch):
    photo(1, (200, 200)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-600])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(BadImageError):
        decode(tmp_path / "a.jpg")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
