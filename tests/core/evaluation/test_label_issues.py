"""`xfer.find_label_issues`: faults that were planted are found, in every kind of data."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFilter

import xfer
from xfer.data import Data, folder, manifest
from xfer.errors import DataError, UsageError
from xfer.evaluation.label_issues import LabelIssues
from xfer.report.labels import COLUMNS, collect, correctable, render, table, write

CLASSES = ("ant", "bee", "cat")
EXCHANGED = {"train/ant/3.png": "bee", "train/bee/4.png": "cat", "val/cat/1.png": "ant"}


def picture(rng, colour):
    coarse = Image.fromarray(rng.integers(0, 90, (6, 6, 3), np.uint8)).resize((40, 40), Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse).astype(int) + rng.integers(0, 40, (40, 40, 3))
    pixels[..., colour] += 110
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Pictures that differ in colour, some in the wrong folder; one resized in val, one dark, one damaged."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "photos"
    for split, number in (("train", 14), ("val", 6)):
        for colour, label in enumerate(CLASSES):
            (root / split / label).mkdir(parents=True)
            for i in range(number):
                name = f"{split}/{label}/{i}.png"
                true = EXCHANGED.get(name)
                picture(rng, CLASSES.index(true) if true else colour).save(root / name)
    Image.open(root / "train/cat/2.png").resize((64, 64)).save(root / "val/cat/copy.png")
    Image.open(root / "train/bee/5.png").point(lambda v: v // 5).save(root / "train/bee/dark.png")
    (root / "train/ant/damaged.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def found(photos, model):
    return xfer.find_label_issues(folder(photos), model, cache=False)


def test_what_was_planted_is_found(found):
    suggested = {error.place.name: error.suggested for error in found.label_errors[:4]}
    assert suggested.pop("train/bee/dark.png")  # in which no classifier sees a bee
    assert suggested == EXCHANGED
    assert len(found.judged) == 62  # all that can be read
    near = [[place.name for place in group.places] for group in found.near_duplicates]
    assert ["train/cat/2.png", "val/cat/copy.png"] in near
    assert [(issue.place.name, issue.issue) for issue in found.quality] == [("train/bee/dark.png", "dark")]
    assert all(a.score <= b.score for a, b in pairwise(found.judged))
    assert all(a.score >= b.score > b.bound for a, b in pairwise(found.outliers))


def test_the_repr_is_one_line(found):
    assert repr(found).startswith("LabelIssues(")
    assert "of 62 labels suspected" in repr(found)
    assert "\n" not in repr(found)
    assert len(repr(found)) < 300


def test_the_document_is_json(found):
    document = json.loads(json.dumps(found.document()))
    assert [row["image"] for row in document["label_errors"][:3]] == [e.place.name for e in found.label_errors[:3]]
    assert document["label_errors"][0].keys() == {"image", "split", "label", "suggested", "score"}
    assert ["train/cat/2.png", "val/cat/copy.png"] in document["near_duplicates"]
    assert document["quality"][0]["issue"] == "dark"
    assert document["judged"]["labels"] == 62


def test_a_second_call_reads_the_cache(photos, model, tmp_path, monkeypatch):
    first = xfer.find_label_issues(folder(photos), model, cache=tmp_path)
    monkeypatch.setattr("xfer.features.extractor.compute", None)  # whoever computes anything fails
    second = xfer.find_label_issues(folder(photos), model, cache=tmp_path)
    assert first == second


def test_several_tasks(photos, model, tmp_path):
    rows = ["image,kind,tags,size"]
    for path in sorted(photos.rglob("*.png")):
        rows.append(f"{path.relative_to(photos.parent)},{path.parent.name},a|b,{len(rows)}")
    (photos.parent / "tasks.csv").write_text("\n".join(rows))
    tasks = {"size": "regression", "kind": "single-label", "tags": "multi-label"}
    data = manifest(photos.parent / "tasks.csv", tasks=tasks, val=0)
    found = xfer.find_label_issues(data, model, cache=False)
    assert {error.place.name.removeprefix("photos/") for error in found.judged[:4]} > EXCHANGED.keys()
    assert {error.task for error in found.judged} == {"kind"}
    assert found.notes == (
        "task size is regression: its targets are not judged",
        "task tags is multi-label: its targets are not judged",
    )
    assert found.document()["label_errors"][0]["task"] == "kind"
    assert correctable(data) == CLASSES


def test_images_without_labels_are_compared_but_not_judged(photos, model):
    data = folder(photos)
    train = replace(data.train, labels=np.where(np.arange(len(data.train)) % 2, data.train.labels, -1))
    found = xfer.find_label_issues(replace(data, train=train), model, cache=False)
    assert len(found.judged) < 62
    assert ["train/cat/2.png", "val/cat/copy.png"] in found.document()["near_duplicates"]
    one = replace(data, train=train.subset(np.flatnonzero(train.labels == 1)), val=None)
    (note,) = xfer.find_label_issues(one, model, cache=False).notes
    assert "fewer than two classes" in note


def test_what_is_refused(photos, model):
    data = folder(photos)
    with pytest.raises(UsageError, match="backend='torch' is given beside a model on numpy"):
        xfer.find_label_issues(data, model, backend="torch")
    with pytest.raises(UsageError, match="model is a int"):
        xfer.find_label_issues(data, 3)
    with pytest.raises(DataError, match="is outputs of 'features' already"):
        xfer.find_label_issues(xfer.extract(model, data, cache=False), model)
    broken = xfer.data.Split([b"x", b"y"], [0, 1], ["p", "q"], ("a", "b"))
    with pytest.raises(DataError, match="no image of broken can be read"):
        xfer.find_label_issues(Data(broken, None, None, ("a", "b"), "broken"), model, cache=False)


def test_the_table_is_a_file_of_corrections_that_changes_nothing(found, photos, tmp_path):
    data = folder(photos)
    write(found, data, tmp_path)
    with (tmp_path / "suspects.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert [row[0] for row in rows[:3]] == [error.place.name for error in found.label_errors[:3]]
    assert len({row[0] for row in rows}) == len(rows)
    assert folder(photos, corrections=tmp_path / "suspects.csv").corrections == ()
    row = next(row for row in rows if row[0] in EXCHANGED)
    row[1:3] = [row[4], "relabel"]
    with (tmp_path / "suspects.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    (changed,) = folder(photos, corrections=tmp_path / "suspects.csv").corrections
    assert (changed.image, changed.label) == (row[0], EXCHANGED[row[0]])


def test_the_page_escapes_names_and_brings_all_with_it(model):
    rng = np.random.default_rng(0)
    names = ['<script>alert(1)</script>"', "a,b\n", "\udcff.png", *(f"{i}.png" for i in range(37))]
    classes = ("<b>", 'x"y', "z,w")
    images = [np.asarray(picture(rng, i % 3).filter(ImageFilter.GaussianBlur(0))) for i in range(40)]
    labels = np.arange(40) % 3
    labels[:3] = [1, 2, 0]
    split = xfer.data.Split(images, labels, names, classes)
    data = Data(split, None, None, classes, "<i>source</i>")
    found = xfer.find_label_issues(data, model, cache=False)
    assert {error.place.name for error in found.label_errors} >= set(names[:3])
    page = render(found, data, collect(found)).decode()
    assert "<script>alert" not in page
    assert "<b>" not in page.split("<body>")[1]
    assert "<i>source" not in page
    assert "%FF.png" in page  # as the bytes that it is
    assert page.count("data:image/jpeg") >= 3
    assert "http" not in page.replace("http://www.w3.org", "")
    assert isinstance(found, LabelIssues)
    assert b"\xff.png" in table(collect(found), classes)
