"""Corrections of labels: the file, what is refused, and every source of data."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import xfer
from xfer.data import Data, Split, arrays, digits, folder, load, manifest, wrap
from xfer.data.corrections import corrected
from xfer.data.dataset import Correction
from xfer.errors import DataError

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def photos(tmp_path):
    """Six images of each class, and one whose name has a comma, a quote and is no ASCII."""
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (tmp_path / "photos" / label).mkdir(parents=True)
        for name in [*map(str, range(5)), 'é, "x"']:
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "photos" / label / f"{name}.png")
    return tmp_path / "photos"


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return path


def labels(data):
    return {n: s.classes[i] for s in data.splits.values() for n, i in zip(s.names, s.labels.tolist(), strict=True)}


def test_labels_change_and_images_go(photos, tmp_path):
    fix = written(tmp_path / "fix.csv", 'image,label\nant/0.png,bee\n"ant/é, ""x"".png",\ncat/1.png,cat\n')
    before, after = labels(folder(photos)), labels(folder(photos, corrections=fix))
    assert before.pop('ant/é, "x".png') == "ant"
    assert after == before | {"ant/0.png": "bee"}
    data = folder(photos, corrections=str(fix))
    assert set(data.corrections) == {Correction("ant/0.png", "bee"), Correction('ant/é, "x".png', None)}
    assert "corrections: labels changed 1, images excluded 1" in data.notes


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffimage,label\r\nant/0.png,bee\r\nbee/1.png,\r\n",  # Excel
        "image;label\nant/0.png;bee\nbee/1.png;\n",
        "label\timage\nbee\tant/0.png\n\tbee/1.png\n",
        "image,label,action\nant/0.png,bee,relabel\nbee/1.png,bee,exclude\ncat/0.png,cat,keep\ncat/1.png,,keep\n",
        "image,label,split\nant/0.png,bee,train\nbee/1.png,,val\n",  # which is not needed here
        "image,label,why\n\nant/0.png,bee,x\nant/0.png,bee,twice the same\nbee/1.png,,\n",
    ],
)
def test_forms_of_the_file(photos, tmp_path, text):
    data = folder(photos, corrections=written(tmp_path / "fix.csv", text))
    assert set(data.corrections) == {Correction("ant/0.png", "bee"), Correction("bee/1.png", None)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "image,label\nant/9.png,bee\nx,\ny,\n",
            r"line 2: 'ant/9.png' is no image of .*, nor are 2 others: give names",
        ),
        ("image,label\nant/0.png,dog\n", r"line 2: 'dog' is no class of .* \(ant, bee, cat"),
        ("image,label\nant/0.png\n", "line 2: 1 fields, but the header names 2"),
        ("image\nant/0.png\n", "needs one column 'label'; its columns are 'image'"),
        ("", "needs one column 'image'; its columns are none"),
        (
            "image,label\nant/0.png,bee\nant/0.png,cat\n",
            "line 3: 'ant/0.png' has two corrections, the other in .* line 2",
        ),
        ("image,label\nant/0.png,bee\nant/0.png,\n", "two corrections"),
        ("image,label,action\nant/0.png,bee,keep\n", "line 2: the action is keep, and the label 'bee' is another"),
        ("image,label,action\nant/0.png,bee,move\n", "line 2: action 'move': give keep, relabel, exclude"),
        ("image,label,action\nant/0.png,,relabel\n", "line 2: no label is given"),
        ('image,label\n"ant/0.png,bee\n', "not valid CSV"),
        (b"PK\x03\x04\x00\xff\xfe\n\x00", "needs one column 'image'"),
        (b"image,label\nant/\xff.png,bee\n", "is no image of"),
    ],
)
def test_what_is_refused(photos, tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        folder(photos, corrections=written(tmp_path / "fix.csv", text))
    assert "\n" not in str(caught.value)


def test_no_file(photos, tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="is no file of corrections"):
            folder(photos, corrections=path)


def test_no_class_and_no_split_is_emptied(photos):
    names = [n for n, label in labels(folder(photos)).items() if label == "ant"]
    with pytest.raises(DataError, match="leave no image of class 'ant' in train"):
        folder(photos, corrections=dict.fromkeys(names, None))
    with pytest.raises(DataError, match="leave no image of class 'ant' in train"):
        folder(photos, corrections=dict.fromkeys(names, "bee"))
    data = folder(photos)
    with pytest.raises(DataError, match="leave no image in val"):
        corrected(data, dict.fromkeys(data.val.names, None))


def test_the_same_images_are_held_out(photos):
    plain = folder(photos)
    fixed = folder(photos, corrections={"ant/0.png": "bee", "bee/0.png": "cat", "cat/3.png": None})
    for name in ("train", "val"):
        expected = [n for n in plain.splits[name].names if n != "cat/3.png"]
        assert list(fixed.splits[name].names) == expected
        rows = [str(fixed.splits[name].images[i]) for i in range(len(expected))]
        assert [row.removeprefix(f"{photos}/") for row in rows] == expected


def test_every_source(photos, tmp_path):
    x, y = np.zeros((12, 8, 8, 3), np.uint8), np.arange(12) % 3
    fix = {"0": "bee", "4": None}
    rows = [
        "image,label",
        *(f"photos/{name},{label}" for name, label in labels(folder(photos)).items() if "é" not in name),
    ]
    table = written(tmp_path / "photos.csv", "\n".join(rows))
    found = [
        arrays(x, y, classes=CLASSES, val=0, corrections=fix),
        wrap((x, y), classes=CLASSES, share=0, corrections=fix),
        wrap({"train": (x, y)}, classes=CLASSES, share=0, corrections=fix),
        load((x, y), classes=CLASSES, val=0, corrections=fix),
        load(arrays(x, y, classes=CLASSES, val=0), corrections=fix),
        load(Split(x, y, list(map(str, range(12))), CLASSES), corrections=fix),
    ]
    for data in found:
        assert data.train.labels.tolist() == [1, 1, 2, 0, 2, 0, 1, 2, 0, 1, 2]
        assert "4" not in data.train.names
    assert len(digits(val=0, corrections={"0": None}).train) == 1796
    for data in (
        manifest(table, corrections={"photos/ant/0.png": "bee"}),
        load(table, corrections={"photos/ant/0.png": "bee"}),
    ):
        assert labels(data)["photos/ant/0.png"] == "bee"
    numbers = arrays(x, y + 5, val=0, corrections={"0": "7"})  # classes that are numbers have their texts
    assert numbers.classes == ("5", "6", "7")
    assert numbers.train.labels[0] == 2


def test_a_name_that_two_splits_have(tmp_path):
    x, y = np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 2
    with pytest.raises(DataError, match="'0' is in train and in val: say which in a column split"):
        arrays(x, y, x, y, corrections={"0": "1"})
    fix = written(tmp_path / "fix.csv", "image,label,split\n0,1,val\n1,,train\n")
    data = arrays(x, y, x, y, corrections=fix)
    assert data.train.labels.tolist() == [0, 0, 1, 0, 1]
    assert data.val.labels.tolist() == [1, 1, 0, 1, 0, 1]


def test_one_file_in_two_splits(photos, tmp_path):
    rows = [f"photos/{c}/{i}.png,{c},{s}" for c in CLASSES for s, i in (("train", 0), ("train", 1), ("val", 1))]
    table = written(tmp_path / "photos.csv", "image,label,split\n" + "\n".join(rows))
    data = manifest(table, corrections={"photos/ant/1.png": "bee"})
    assert data.train.counts() == {"ant": 1, "bee": 3, "cat": 2}
    assert data.val.counts() == {"ant": 0, "bee": 2, "cat": 1}


def test_several_tasks(photos, tmp_path):
    rows = [f"photos/{c}/{i}.png,{c},{'' if i == 3 else i},{c if i else ''}" for c in CLASSES for i in range(5)]
    table = written(tmp_path / "photos.csv", "image,kind,size,other\n" + "\n".join(rows))
    tasks = {"kind": "single-label", "size": "regression"}
    data = manifest(table, tasks=tasks, val=0, corrections={"photos/ant/0.png": "bee", "photos/cat/4.png": None})
    assert data.train.labels[0] == 1
    assert data.train.targets[0].tolist() == [1, 0]
    assert len(data.train) == 14
    sizes = data.train.targets[:, 1]
    assert data.tasks[1].mean == pytest.approx((np.nanmean(sizes),))
    several = {"kind": "single-label", "other": "single-label"}
    with pytest.raises(DataError, match="has 2 single-label tasks: correct its table instead"):
        manifest(table, tasks=several, val=0, corrections={"photos/ant/0.png": "bee"})
    assert len(manifest(table, tasks=several, val=0, corrections={"photos/ant/0.png": None}).train) == 14


def test_an_image_without_a_label_gets_one():
    x = np.zeros((4, 8, 8, 3), np.uint8)
    data = corrected(Data(Split(x, [0, 1, -1, 0], list("abcd"), ("p", "q")), None, None, ("p", "q"), "x"), {"c": "q"})
    assert data.train.labels.tolist() == [0, 1, 1, 0]


def test_the_fingerprint_changes_and_changes_alone_count(photos):
    plain = folder(photos)
    assert folder(photos, corrections={"ant/0.png": "ant"}).train.fingerprint() == plain.train.fingerprint()
    name = plain.train.names[0]
    assert corrected(plain, {name: "cat"}).train.fingerprint() != plain.train.fingerprint()
    assert corrected(plain, None) is plain


def test_features_are_corrected_like_their_images(model, data):
    features = xfer.extract(model, data, cache=False)
    name = data.train.names[0]
    fixed = xfer.data.load(replace(features, val=None), corrections={name: None, data.train.names[1]: "c"})
    assert (len(fixed.train), fixed.train.after) == (59, "features")
    assert np.array_equal(np.stack([fixed.train.images[0]]), np.stack([features.train.images[1]]))


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(TEXT, st.sampled_from([*range(3), None]), min_size=1, max_size=8), st.booleans(), st.data())
def test_a_csv_file_is_read_as_it_was_written(tmp_path_factory, fixes, bom, draw):
    """Any names and classes, with quotes, commas and ends of lines in them."""
    classes = tuple(draw.draw(st.lists(TEXT, min_size=3, max_size=3, unique=True)))
    names = [*fixes, *(f"\x00{i}" for i in range(3))]
    old = [*((i + 1) % 3 for i in range(len(fixes))), 0, 1, 2]
    data = Data(Split(np.zeros((len(names), 2, 2, 3), np.uint8), old, names, classes), None, None, classes, "x")
    text = io.StringIO(newline="")
    out = csv.writer(text)
    out.writerow(["image", "label"])
    out.writerows([name, "" if new is None else classes[new]] for name, new in fixes.items())
    path = tmp_path_factory.mktemp("fix") / "fix.csv"
    path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode())
    found = corrected(data, path)
    expected = {n: classes[o] for n, o in zip(names, old, strict=True)}
    expected |= {n: classes[new] for n, new in fixes.items() if new is not None}
    assert labels(found) == {n: label for n, label in expected.items() if n not in fixes or fixes[n] is not None}
