import numpy as np
import pytest

from xfer.data import Data, Split
from xfer.errors import DataError, UsageError


def split(labels, classes=("ant", "bee", "cow")):
    return Split([f"image {i}" for i in range(len(labels))], labels, [str(i) for i in range(len(labels))], classes)


def test_a_split_is_a_sequence_that_cannot_change():
    made = split([0, 2, 1])
    assert len(made) == 3
    assert list(made) == [("image 0", 0), ("image 1", 2), ("image 2", 1)]
    with pytest.raises(ValueError, match="read-only"):
        made.labels[0] = 1


def test_counts_name_every_class():
    assert split([0, 0, 2]).counts() == {"ant": 2, "bee": 0, "cow": 1}
    assert Split(["a", "b"], [0, 1], ["a", "b"]).counts() == {"0": 1, "1": 1}
    assert Split(["a"], [-1], ["a"]).counts() == {}


def test_subset_of_a_subset():
    part = split([0, 1, 2, 0, 1, 2]).subset([5, 3, 1]).subset([2, 0])
    assert list(part) == [("image 1", 1), ("image 5", 2)]
    assert part.names == ("1", "5")


def test_limit_is_stratified_seeded_and_keeps_rare_classes():
    whole = split([0] * 80 + [1] * 19 + [2])
    limited = whole.limit(10, seed=3)
    assert len(limited) == 10
    assert limited.counts()["cow"] == 1
    assert limited.counts()["ant"] in (7, 8)
    assert limited.names == whole.limit(10, seed=3).names
    assert limited.names != whole.limit(10, seed=4).names
    assert list(limited.names) == sorted(limited.names, key=int)
    assert whole.limit(1000) is whole
    with pytest.raises(UsageError, match="limit 0 leaves no image: give 1 or more"):
        whole.limit(0)


def test_limit_with_one_image_a_class():
    assert split([0] * 50 + [1] * 50 + [2] * 2).limit(3).counts() == {"ant": 1, "bee": 1, "cow": 1}


def test_fingerprint_follows_names_labels_classes_and_order():
    base = split([0, 1, 2])
    assert base.fingerprint() == split([0, 1, 2]).fingerprint()
    others = [split([0, 2, 1]), split([0, 1, 2], ("ant", "bee", "dog")), base.subset([1, 0, 2]), base.subset([0, 1])]
    assert len({base.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_mismatched_lengths_and_labels_are_refused():
    with pytest.raises(DataError, match="2 images, 1 labels and 2 names: give one label"):
        Split(["a", "b"], [0], ["a", "b"])
    with pytest.raises(DataError, match="label 3 has no class name: there are 3 classes"):
        split([3])


def test_describe_tells_sizes_counts_and_notes():
    data = Data(split([0, 0, 1]), split([2]), None, ("ant", "bee", "cow"), "photos", ("a remark",))
    assert data.describe().splitlines() == [
        "photos: 3 classes; images: train 3, val 1",
        "  train: ant 2, bee 1, cow 0",
        "  a remark",
    ]


def test_describe_stays_short_with_many_classes():
    names = tuple(f"c{i}" for i in range(500))
    many = split(np.arange(500), names)
    assert "c9 1, ... 490 more" in Data(many, None, None, names, "x").describe()
