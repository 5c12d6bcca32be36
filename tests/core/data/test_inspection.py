"""Inspection against brute force: every pair compared, every file opened by Pillow alone."""

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from itertools import combinations
from statistics import median

import numpy as np
import pytest
from PIL import Image

from tests.suites.command_line import document, xfer_command
from xfer.data import Data, Loader, Split, folder, inspect
from xfer.data.dataset import UNLABELLED
from xfer.errors import UsageError


@pytest.fixture
def crowd():
    """120 small arrays in three splits, drawn from 25 pictures, so that there is every kind of duplicate."""
    rng = np.random.default_rng(0)
    pool = [rng.integers(0, 256, (*rng.integers(2, 9, 2), 3), np.uint8) for _ in range(25)]
    splits = {}
    for name, size in (("train", 70), ("val", 30), ("test", 20)):
        images = [pool[i] for i in rng.integers(0, len(pool), size)]
        labels = rng.choice([UNLABELLED, 0, 1, 2], size, p=[0.1, 0.7, 0.15, 0.05])
        splits[name] = Split(images, labels, [f"{name}{i:02}" for i in range(size)], ("a", "b", "c"))
    return Data(splits["train"], splits["val"], splits["test"], ("a", "b", "c"), "crowd")


def everything(data):
    return [
        (name, split.names[i], int(split.labels[i]), split.images[i])
        for name, split in data.splits.items()
        for i in range(len(split))
    ]


def equal(a, b):
    return a.shape == b.shape and bool((a == b).all())


def named(pair):
    return (pair.first.split, pair.first.name), (pair.second.split, pair.second.name)


@pytest.mark.parametrize("workers", [0, 3])
def test_pairs_are_those_of_comparing_each_with_each(crowd, workers):
    found = inspect(crowd, pairs=10_000, workers=workers)
    expected, clashes = {}, set()
    for a, b in combinations(everything(crowd), 2):
        if equal(a[3], b[3]):
            expected.setdefault((a[0], b[0]), set()).add((a[:2], b[:2]))
            if UNLABELLED not in (a[2], b[2]) and a[2] != b[2]:
                clashes.add(frozenset((a[:2], b[:2])))
    assert len(expected) == 6, "every combination of splits"
    assert {(d.first, d.second): set(map(named, d.pairs)) for d in found.duplicates} == expected
    for each in found.duplicates:
        assert each.total == len(each.pairs) == len(expected[each.first, each.second])
    assert {frozenset(named(pair)) for pair in found.conflicts.pairs} == clashes
    assert found.conflicts.total == len(found.conflicts.pairs) == len(clashes) > 0


def test_images_to_remove(crowd):
    """Without those that it counts, no picture is left twice; with one fewer removed, one would be."""
    found = {(d.first, d.second): d.images for d in inspect(crowd).duplicates}
    for name, split in crowd.splits.items():
        distinct = {image.tobytes() + bytes(image.shape) for image in split.images}
        assert found[name, name] == len(split) - len(distinct)
    for first, second in combinations(crowd.splits, 2):
        others = crowd.splits[first].images
        assert found[first, second] == sum(any(equal(x, y) for y in others) for x in crowd.splits[second].images)


def test_pictures_with_several_labels(crowd):
    labels = {}
    for _, _, label, image in everything(crowd):
        if label != UNLABELLED:
            labels.setdefault((image.shape, image.tobytes()), set()).add(label)
    assert inspect(crowd).conflicts.images == sum(len(of_one) > 1 for of_one in labels.values())


def test_the_limit_shortens_the_list_and_not_the_count(crowd):
    whole, short = inspect(crowd, pairs=10_000), inspect(crowd, pairs=2)
    for long, brief in zip(whole.duplicates, short.duplicates, strict=True):
        assert brief.pairs == long.pairs[:2]
        assert (brief.total, brief.images) == (long.total, long.images)
    assert short.conflicts.pairs == whole.conflicts.pairs[:2]
    assert short.conflicts.total == whole.conflicts.total
    assert [d.pairs for d in inspect(crowd, pairs=0).duplicates] == [()] * 6
    assert short.suggestions == whole.suggestions
    with pytest.raises(UsageError, match="pairs=-1: give 0 or more"):
        inspect(crowd, pairs=-1)
    with pytest.raises(UsageError, match="workers=-1"):
        inspect(crowd, workers=-1)


def test_many_copies_of_one_picture_are_counted_without_being_listed():
    """2,000 equal images are two million pairs."""
    n = 2000
    image = np.zeros((2, 2), np.uint8)
    found = inspect(Split([image] * n, np.arange(n) % 2, list(map(str, range(n))), ("a", "b")), pairs=3)
    assert (found.duplicates[0].total, found.duplicates[0].images) == (n * (n - 1) // 2, n - 1)
    assert found.conflicts.total == (n // 2) ** 2
    assert len(found.duplicates[0].pairs) == len(found.conflicts.pairs) == 3


def test_equal_bytes_of_another_shape_are_another_picture():
    images = [np.zeros((4, 6, 3), np.uint8), np.zeros((6, 4, 3), np.uint8), np.zeros((6, 4), np.uint8)]
    found = inspect(Split(images, [0, 1, 1], list("abc")))
    assert [named(pair) for pair in found.duplicates[0].pairs] == [(("train", "b"), ("train", "c"))]
    assert found.conflicts.total == 0


def test_counts_sizes_and_imbalance(crowd):
    found = inspect(crowd)
    assert list(found.splits) == ["train", "val", "test"]
    for name, split in crowd.splits.items():
        seen = found.splits[name]
        tally = Counter(split.labels.tolist())
        assert seen.listed == seen.readable == len(split)
        assert seen.counts == {"a": tally[0], "b": tally[1], "c": tally[2]}
        assert sum(seen.counts.values()) + seen.unlabelled == seen.readable
        assert seen.unlabelled == tally[UNLABELLED]
        there = [tally[i] for i in range(3) if tally[i]]
        assert seen.imbalance == max(there) / min(there)
        widths, heights = [x.shape[1] for x in split.images], [x.shape[0] for x in split.images]
        assert (seen.width.min, seen.width.median, seen.width.max) == (min(widths), median(widths), max(widths))
        assert (seen.height.min, seen.height.median, seen.height.max) == (min(heights), median(heights), max(heights))
        assert (seen.formats, seen.modes) == ({"pixels": len(split)}, {"RGB": len(split)})


@pytest.fixture
def album(tmp_path, photo):
    """Files of many kinds with leaks, copies, a clash of labels and damage."""
    for where in ("train/ant", "train/bee", "val/ant", "val/bee"):
        (tmp_path / where).mkdir(parents=True)
    for i in range(8):
        photo(i).save(tmp_path / f"train/ant/{i}.png")
    photo(10).save(tmp_path / "train/bee/[red]same.bmp")
    photo(10).save(tmp_path / "train/bee/same.png")
    photo(11).convert("CMYK").save(tmp_path / "train/bee/cmyk.jpg")
    (tmp_path / "train/bee/empty.png").write_bytes(b"")
    (tmp_path / "train/bee/text.png").write_text("no image")
    exif = Image.Exif()
    exif[0x0112] = 8  # stored turned by a quarter to the right; upright it is photo 0 again
    photo(0).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "val/ant/turned.tif", exif=exif)
    photo(1).save(tmp_path / "val/bee/clash.webp", lossless=True)
    photo(20).save(tmp_path / "val/bee/own.png")
    (tmp_path / "val/ant/cut.png").write_bytes((tmp_path / "val/bee/own.png").read_bytes()[:300])
    return tmp_path


def test_files(album):
    found = inspect(folder(album))
    train, val = found.splits["train"], found.splits["val"]
    assert (train.listed, train.readable, len(train.unreadable)) == (13, 11, 2)
    assert (val.listed, val.readable, len(val.unreadable)) == (4, 3, 1)
    assert train.counts == {"ant": 8, "bee": 3}
    assert val.counts == {"ant": 1, "bee": 2}
    assert {bad.name: bad.reason for bad in train.unreadable} == {
        "train/bee/empty.png": "the file is empty",
        "train/bee/text.png": "not an image that xfer can read",
    }
    assert [bad.name for bad in val.unreadable] == ["val/ant/cut.png"]
    for name, seen in found.splits.items():
        bad = {each.name for each in seen.unreadable}
        opened = [
            Image.open(path)
            for path in sorted(album.glob(f"{name}/*/*.*"))
            if path.relative_to(album).as_posix() not in bad
        ]
        assert seen.formats == Counter(image.format for image in opened)
        assert seen.modes == Counter(image.mode for image in opened)
    assert (val.width.min, val.width.max, val.height.min, val.height.max) == (48, 48, 40, 40), "upright"
    assert [(d.first, d.second, d.images, d.total) for d in found.duplicates] == [
        ("train", "train", 1, 1),
        ("train", "val", 2, 2),
    ]
    assert [named(pair) for pair in found.duplicates[1].pairs] == [
        (("train", "train/ant/0.png"), ("val", "val/ant/turned.tif")),
        (("train", "train/ant/1.png"), ("val", "val/bee/clash.webp")),
    ]
    clash = found.conflicts.pairs[0]
    assert (clash.first.label, clash.second.label, found.conflicts.total) == ("ant", "bee", 1)


def test_what_is_readable_here_is_what_a_loader_reads(album, preprocessing):
    data = folder(album)
    found = inspect(data)
    for name, split in data.splits.items():
        loader = Loader(split, preprocessing, batch_size=4)
        assert sum(map(len, loader.epoch(0))) == found.splits[name].readable
        assert sorted(loader.skipped, key=lambda bad: bad.name) == list(found.splits[name].unreadable)


def test_suggestions_name_what_is_wrong(album):
    assert list(inspect(folder(album)).suggestions) == [
        "2 pictures of val are in train too: remove them from val",
        "1 picture with more than one label: decide which is right",
        "1 image of train repeats another one there: remove it",
        "3 files cannot be read: repair or remove them (training leaves them out)",
    ]


def test_suggestions_about_classes():
    rng = np.random.default_rng(1)

    def split(*counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        images = list(rng.integers(0, 256, (len(labels), 6, 6), np.uint8))
        return Split(images, labels, list(map(str, range(len(labels)))), ("a", "b", "c"))

    def advice(train, val):
        return list(inspect(Data(train, val, None, ("a", "b", "c"), "made")).suggestions)

    assert advice(split(5, 4, 2), split(1, 1, 1)) == []
    skewed = advice(split(37, 1, 4), split(1, 1, 1))
    assert len(skewed) == 1
    assert skewed[0] == "train is imbalanced 37:1 (a 37, b 1): try --sampling balanced"
    assert advice(split(3, 3, 3), split(2, 0, 0)) == ["val has no readable image of b, c: add some"]


def test_command(album):
    plain = xfer_command("inspect", album)
    assert plain.returncode == 0, plain.stderr
    for text in ("[red]same.bmp", "the file is empty", "- 2 pictures of val are in train too"):
        assert text in plain.stdout
    found = document(xfer_command("inspect", album, "--json", "--pairs", "1"))
    assert found == json.loads(json.dumps(asdict(inspect(folder(album), pairs=1))))
    assert len(found["duplicates"][1]["pairs"]) == 1
    for split in found["splits"].values():
        assert split["listed"] == split["readable"] + len(split["unreadable"])


def test_command_with_many_classes_and_damaged_files(tmp_path, photo):
    """25 classes of 1 to 25 images, and 60 files that hold none: both ends of the one, the first of the other."""
    for i in range(25):
        (tmp_path / f"train/class{i:02}").mkdir(parents=True)
        for j in range(i + 1):
            photo(100 * i + j, (8, 8)).save(tmp_path / f"train/class{i:02}/{j}.png")
    for j in range(60):
        (tmp_path / f"train/class24/bad{j:02}.png").write_bytes(b"")
    (tmp_path / "val/class03").mkdir(parents=True)
    photo(9000).save(tmp_path / "val/class03/0.png")
    result = xfer_command("inspect", tmp_path)
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert [f"class{i:02} " in text for i in range(25)] == [i < 10 or i > 14 for i in range(25)]
    assert "... 5 more classes" in text
    assert text.count("the file is empty") == 50
    assert "... 10 more" in text
    assert "60 files cannot be read" in text
    assert "- val has no readable image of class00, class01, class02, class04, class05 and 19 more: add some" in text
    assert "- train is imbalanced 25:1 (class24 25, class00 1)" in text


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_command_with_a_name_that_is_no_text(album):
    strange = os.fsencode(album) + b"/train/ant/\xff.png"
    with open(strange, "wb"):  # noqa: PTH123
        pass
    result = xfer_command("inspect", album)
    assert result.returncode == 0, result.stderr
    assert "train/ant/\N{REPLACEMENT CHARACTER}.png" in result.stdout
    unreadable = document(xfer_command("inspect", album, "--json"))["splits"]["train"]["unreadable"]
    assert {"name": "train/ant/\udcff.png", "reason": "the file is empty", "imputed": False} in unreadable


def test_command_sees_the_data_of_a_configuration(tmp_path):
    (tmp_path / "xfer.toml").write_text('data = "digits"\nlimit = 40\nval = 0.5\n')
    found = document(xfer_command("inspect", "--config", tmp_path / "xfer.toml", "--json"))
    assert {name: split["listed"] for name, split in found["splits"].items()} == {"train": 40, "val": 40}
    assert xfer_command("inspect").returncode == 2
