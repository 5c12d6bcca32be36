import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from xfer.data import arrays, digits, load, pictures
from xfer.data.images.decode import decode
from xfer.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (12, 10, 9, 3), np.uint8)
Y = np.arange(12) % 3


def test_load_takes_what_there_is(tree):
    root = tree({"pets/cat": 3, "pets/dog": 3})
    data = load(root / "pets", val=0.34, seed=2)
    assert data.classes == ("cat", "dog")
    assert load(data) is data
    assert load(data.train).train is data.train
    (root / "t.csv").write_text("image,label\npets/cat/0.png,c\npets/dog/0.png,d\n")
    assert load(str(root / "t.csv"), val=0).classes == ("c", "d")
    assert load((X, Y), val=0).train.counts() == {"0": 4, "1": 4, "2": 4}
    assert load((X, Y.tolist()), val=0).classes == ("0", "1", "2")
    assert len(load(((X, Y), (X[:3], Y[:3]))).val) == 3
    assert len(load(list(zip(X, Y, strict=True)), classes=["p", "q", "r"], val=0.5).val) == 6
    both = load({"train": (X, Y), "validation": (X[:6], Y[:6]), "test": (X[:3], Y[:3])})
    assert [len(split) for split in both.splits.values()] == [12, 6, 3]


def test_load_refuses_the_rest(tree):
    root = tree({"photos/cat": 1})
    with pytest.raises(DataError, match="fotos does not exist: did you mean 'photos'"):
        load(root / "fotos")
    (root / "x.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"x.zip is neither a folder nor a table: give class folders or .csv"):
        load(root / "x.zip")
    with pytest.raises(DataError, match="split 'unsupervised': give at most one each of train, val and test"):
        load({"train": (X, Y), "unsupervised": (X, Y)})
    with pytest.raises(DataError, match=r"there is no train among the splits \(test\)"):
        load({"test": (X, Y)})


def test_pictures_of_every_kind(tree):
    root = tree({"a": 2, "a/b": 1})
    (root / "a" / "notes.txt").write_text("no image")
    path = root / "a" / "0.png"
    image = Image.open(path)
    expected = np.asarray(image)
    for given in (path, str(path), path.read_bytes(), image, expected, [path], expected[None], (image,)):
        found = pictures(given)
        assert len(found) == 1
        assert found.labels.tolist() == [-1]
        np.testing.assert_array_equal(decode(found.images[0]), expected)
    mixed = pictures([path, expected])
    assert mixed.names == (str(path), "1")
    assert pictures(mixed) is mixed
    assert len(pictures(X)) == 12
    assert len(pictures([])) == 0
    assert [name.removeprefix(str(root)) for name in pictures(root).names] == ["/a/0.png", "/a/1.png", "/a/b/0.png"]


def test_pictures_that_are_not_there(tree):
    root = tree({"a": 1})
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=r"0.pngg does not exist: did you mean '0.png'"):
        pictures([root / "a" / "0.pngg"])
    with pytest.raises(DataError, match="empty has no images in it"):
        pictures(root / "empty")
    with pytest.raises(DataError, match="the image is a int: give a path"):
        pictures(3)


def test_digits_are_the_real_ones():
    data = digits(val=0)
    source = load_digits()
    assert data.classes == tuple("0123456789")
    assert len(data.train) == 1797
    assert data.train.labels.tolist() == source.target.tolist()
    image = data.train.images[5]
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert image.max() == 255
    np.testing.assert_array_equal(np.rint(image[..., 1] * (16 / 255)), source.images[5])
    assert digits(32).train.images[0].shape == (32, 32, 3)
    whole, part = np.bincount(source.target), list(digits(val=0.2).val.counts().values())
    assert np.abs(np.array(part) - whole * 0.2).max() <= 1


def test_importing_the_core_loads_no_framework_and_no_table_reader():
    heavy = ["torch", "tensorflow", "keras", "datasets", "pandas", "sklearn"]
    code = f"import sys, xfer.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_split_survives_any_door():
    """The same images as arrays and as pairs are the same task."""
    one, other = arrays(X, Y), load(list(zip(X, Y, strict=True)))
    assert one.train.fingerprint() == other.train.fingerprint()
    assert one.val.fingerprint() == other.val.fingerprint()
