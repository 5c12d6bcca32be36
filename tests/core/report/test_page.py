"""The page: whole, escaped, and in need of nothing but itself."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.core.report.pages import Page
from xfer.report.compare import summarise

HOSTILE = ('<script>alert("x")</script>', "a & b's \"$\\frac{1$\x0b", "#000001 url(#x) 蚂蚁")


@pytest.fixture
def pictures(tmp_path):
    """A folder of 30 validation pictures in the classes ant and bee, one colour each."""
    for split, count in (("train", 2), ("val", 15)):
        for c, name in enumerate(("ant", "bee")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (300, 200), (200 * c, 8 * i, 90)).save(folder / f"{i:02d}.png")
    return tmp_path / "photos"


def compared(make_run, out, scores, others, labels, classes, **more):
    runs = [make_run("torch", scores, labels, classes, **more), make_run("tensorflow", others, labels, classes, **more)]
    summarise(runs, out)
    return Page((out / "report.html").read_text("utf-8"))


def test_pictures_of_disagreements(make_run, tmp_path, pictures):
    labels = np.repeat([0, 1], 15)
    names = [f"val/{c}/{i:02d}.png" for c in ("ant", "bee") for i in range(15)]
    scores = np.random.default_rng(0).normal(size=(30, 2))
    page = compared(make_run, tmp_path, scores, -scores, labels, ("ant", "bee"), names=names, data=str(pictures))
    shown = page.values("img", "src")
    assert len(shown) == 24
    assert "30 of 30 validation images" in page.text
    assert "Shown are 24; 6 more are in compare.json" in page.text
    first = json.loads((tmp_path / "compare.json").read_text())["disagreements"][0]["name"]
    assert page.values("img", "alt")[0] == f"Image {first}"
    head, _, data = shown[0].partition(",")
    assert head == "data:image/jpeg;base64"
    thumbnail = Image.open(io.BytesIO(base64.b64decode(data)))
    assert max(thumbnail.size) <= 200
    with Image.open(pictures / first) as original:
        colour = original.getpixel((0, 0))
    assert np.abs(np.subtract(thumbnail.getpixel((5, 5)), colour)).max() <= 6


def test_needs_nothing_but_itself(make_run, tmp_path):
    scores = np.random.default_rng(0).normal(size=(30, 3))
    page = compared(make_run, tmp_path, scores, -scores, np.arange(30) % 3, "abc")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    assert "://" not in html
    assert "@import" not in html
    for _, key, value in page.attributes:
        if key in ("src", "href"):
            assert value.startswith(("data:", "#"))
    targets = set(re.findall(r"(?:url\(|href=\")#([\w-]+)", html))
    identifiers = [value for _, key, value in page.attributes if key == "id"]
    assert targets <= set(identifiers)
    assert len(identifiers) == len(set(identifiers))


def test_charts_speak_and_tables_have_headers(make_run, tmp_path):
    scores = np.random.default_rng(0).normal(size=(30, 3))
    page = compared(make_run, tmp_path, scores, scores, np.arange(30) % 3, "abc", losses=[2.0, 1.0])
    spoken = page.values("svg", "aria-label")
    assert len(spoken) == 4
    right = int((scores.argmax(axis=1) == np.arange(30) % 3).sum())
    assert f"Confusion matrix of torch: {right} of 30 images on the diagonal" in spoken
    assert page.values("svg", "role") == ["img"] * 4
    assert page.tags.count("table") == page.tags.count("thead") >= 4
    assert set(page.values("th", "scope")) == {"col", "row", "colgroup"}
    assert len(page.values("th", "scope")) == page.tags.count("th")
    assert "Nowhere: every one of the 30 validation images got the same class" in page.text
    assert "12.5" in page.text  # seconds of the head


def test_hostile_names_are_text(make_run, tmp_path):
    scores = np.random.default_rng(0).normal(size=(30, 3))
    names = [f"val/<img src=x onerror=alert(1)>{i}.jpg" for i in range(30)]
    page = compared(make_run, tmp_path, scores, -scores, np.arange(30) % 3, HOSTILE, names=names)
    assert not {"script", "b", "img"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert HOSTILE[0] in page.texts
    assert page.drawn.count(HOSTILE[2]) == 4  # both axes of both matrices, whose colours the page replaces
    assert set(names) & set(page.texts)


def test_the_same_runs_give_the_same_page(make_run, tmp_path):
    scores = np.random.default_rng(0).normal(size=(30, 3))
    pages = []
    for _ in range(2):
        compared(make_run, tmp_path, scores, -scores, np.arange(30) % 3, "abc")
        pages.append((tmp_path / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_many_classes_become_confused_pairs(make_run, tmp_path):
    classes = [f"c{i}" for i in range(51)]
    labels = np.repeat(np.arange(51), 2)
    scores = np.eye(51)[labels]
    scores[labels == 7] = np.eye(51)[9]
    page = compared(make_run, tmp_path, scores, np.eye(51)[labels], labels, classes)
    assert page.tags.count("svg") == 2
    assert "c7 → c9 2 0" in page.text
