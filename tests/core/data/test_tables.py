import sys

import pytest

from xfer.data import manifest
from xfer.data.images.decode import decode
from xfer.errors import DataError


@pytest.fixture
def root(tree):
    return tree({"img": 6})


def write(root, text, name="labels.csv"):
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_csv_with_splits(root):
    path = write(root, "image,label,split\nimg/0.png,bee,train\nimg/1.png, ant,Train\n\nimg/2.png,ant,valid\n")
    data = manifest(path)
    assert data.classes == ("ant", "bee")
    assert data.train.names == ("img/0.png", "img/1.png")
    assert data.train.labels.tolist() == [1, 0]
    assert data.train.images[0] == root / "img/0.png"
    assert data.val.counts() == {"ant": 1, "bee": 0}
    assert data.test is None


def test_other_columns_root_and_holdout(root):
    rows = "".join(f"{i}.png;x\t{'ab'[i % 2]}\n".replace(";x", "") for i in range(6))
    path = write(root, "\ufefffile\tkind\n" + rows, "labels.tsv")
    data = manifest(path, image="file", label="kind", root=root / "img", val=0.34)
    assert data.val.counts() == {"a": 1, "b": 1}
    assert data.train.counts() == {"a": 2, "b": 2}


def test_absolute_paths_and_quotes(root):
    path = write(root, f'image,label\n"{root}/img/0.png","a, b"\n{root}/img/1.png,c\n')
    assert manifest(path, val=0).classes == ("a, b", "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,class\nimg/0.png,a\n", "has no column 'label': its columns are 'image', 'class'"),
        ("", "has no column 'image': its columns are none"),
        ("image,label\nimg/0.png,\nimg/1.png,\n", "has no label in train: give at least one of each class"),
        ("image,label\nimg/0.png\n", "line 2: 1 fields, but the header names 2 columns"),
        ("image,label\n,a\n", "line 2: column 'image' is empty: give the path of an image"),
        ("image,label\nimg/0.png,a\nimg/9.png,b\n", "line 3: column 'image': there is no file 'img/9.png' in"),
        ("image,label\nimg/0.png,a,b\n", "line 2: 3 fields, but the header names 2 columns"),
        ("image,label,split\nimg/0.png,a,dev\n", "line 2: column 'split' is 'dev': give train, val or test"),
        ('image,"label" x\n', "line 1: not valid CSV"),
        ('image,label\n"img/0.png" x,a\n', "line 2: not valid CSV"),
        ("image,label,split\nimg/0.png,a,val\n", "lists no training images"),
        ("image,label\n", "lists no training images"),
        ("image,label,split\nimg/0.png,a,train\nimg/1.png,b,train\nimg/2.png,c,val\n", "'c' of 'img/2.png' in val"),
    ],
)
def test_what_is_wrong_by_line_and_column(root, text, message):
    with pytest.raises(DataError, match=message):
        manifest(write(root, text))


def test_a_named_split_column_must_be_there(root):
    with pytest.raises(DataError, match="has no column 'fold'"):
        manifest(write(root, "image,label\nimg/0.png,a\n"), split="fold")


def test_not_utf8(root):
    (root / "latin.csv").write_bytes("image,label\nimg/0.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.csv is not UTF-8 \(byte 25\): save it as UTF-8"):
        manifest(root / "latin.csv")


def test_parquet_paths_and_bytes(root):
    pandas = pytest.importorskip("pandas")
    encoded = (root / "img/2.png").read_bytes()
    images = ["img/0.png", {"bytes": None, "path": "img/1.png"}, {"bytes": encoded, "path": None}, encoded]
    frame = pandas.DataFrame({"image": ["img/0.png", "img/1.png"], "label": [10, 2]})
    frame.to_parquet(root / "a.parquet")
    data = manifest(root / "a.parquet", val=0)
    assert data.classes == ("2", "10")
    assert data.train.labels.tolist() == [1, 0]
    frame = pandas.DataFrame({"image": images[1:3], "label": ["x", "y"]})
    frame.to_parquet(root / "b.parquet")
    data = manifest(root / "b.parquet", val=0)
    assert data.train.names == ("img/1.png", "row 2")
    assert [decode(image).size for image in data.train.images] == [(48, 40)] * 2
    frame = pandas.DataFrame({"image": ["img/0.png", None], "label": ["x", "y"]})
    frame.to_parquet(root / "c.parquet")
    with pytest.raises(DataError, match=r"c.parquet row 2: column 'image' is empty"):
        manifest(root / "c.parquet")
    (root / "d.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"d.parquet is not a Parquet file"):
        manifest(root / "d.parquet")


def test_parquet_without_its_packages(root, monkeypatch):
    (root / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'a.parquet needs pyarrow to be read: pip install "xfer-learn\[parquet\]"'):
        manifest(root / "a.parquet")
