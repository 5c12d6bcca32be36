"""`inspect.html`: complete, self-contained, and every name escaped."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import xfer
from tests.suites.command_line import document, xfer_command
from xfer.data import inspect
from xfer.report.inspection import preprocessing, render, shown
from xfer.specs.settings import RunSettings

HOSTILE = "<script>alert(1)<b>&'"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.sources, self._skip = [], [], [], 0
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._skip += tag == "style"
        given = dict(attrs)
        self.sources += [given[name] for name in ("src", "href", "xlink:href") if name in given]
        assert not any(name.startswith("on") for name in given)

    def handle_endtag(self, tag):
        self._skip -= tag == "style"

    def handle_data(self, data):
        if not self._skip:
            self.words.append(data)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Classes of 6, 3 and 1, a picture twice in train and once in val under another label, and a damaged file."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)

    def save(where, seed, size=(40, 30)):
        path = root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize(size).save(path)

    for i in range(6):
        save(f"train/{HOSTILE}/{i}.png", i, (40 + 10 * i, 30))
    for i in range(3):
        save(f"train/bee/{i}.png", 10 + i)
    save("train/fly/0.png", 20)
    save('train/bee/copy\n".png', 10)
    save("val/fly/leak.png", 10)
    save("val/bee/0.png", 30)
    (root / "train/bee/broken.png").write_bytes(rng.bytes(50))
    return root


def made(photos, **options):
    config = RunSettings(data=str(photos), model="tiny", weights="none", image_size=16, **options)
    data = xfer.data.folder(photos)
    found = inspect(data)
    return found, Page(render(found, data, shown(config, preprocessing(config), data)).decode())


def test_says_everything_that_was_found(photos):
    found, page = made(photos, augment="light", mix="mixup", batch_size=4)
    assert page.sources
    assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in page.sources)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    for line in (*found.suggestions, *found.notes):
        assert line in page.text, line
    assert f"13 images of 3 classes: {len(found.suggestions)} suggestions" in page.text
    assert "copy" in page.text
    assert "broken.png" in page.text
    assert found.splits["train"].unreadable[0].reason in page.text
    assert "The same picture with different labels: 1" in page.text
    assert "The same picture in train and in val: 1" in page.text
    assert "augment=crop=0.5,flip, mix=mixup=0.2" in page.text
    assert page.tags.count("svg") == 2


def test_the_pictures_are_those_of_the_data(photos):
    _, page = made(photos)
    pictures = [Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2]))) for s in page.sources if s[0] == "d"]
    samples = 11 * 2  # each with one view, for nothing is random
    pairs = 2 * (1 + 2 + 2)  # train, train and val, labels that differ
    assert len(pictures) == samples + pairs
    assert {picture.size for picture in pictures[1:samples:2]} == {(176, 176)}  # 16 pixels, eleven times


def test_sizes_are_counted(photos):
    found = inspect(xfer.data.folder(photos)).splits["train"]
    assert sorted(found.sizes) == [(40, 30, 6), *((40 + 10 * i, 30, 1) for i in range(1, 6))]
    assert sum(number for *_, number in found.sizes) == found.readable


def test_command(photos, tmp_path):
    """The page and the document; what cannot be is refused before an image is read."""
    out = tmp_path / "out"
    found = document(
        xfer_command("inspect", photos, "--image-size", "32", "--augment", "light", "--out", out, "--json")
    )
    assert found["page"] == str(out / "inspect.html")
    text = (out / "inspect.html").read_text("utf-8")
    assert "32 px" in text
    refused = xfer_command("inspect", photos, "--augment", "folder", "--out", tmp_path / "no")
    assert refused.returncode == 2
    assert re.fullmatch(r"error: unknown augmentation 'folder'.*\n", refused.stderr)


def test_of_many_classes_and_no_readable_image(tmp_path):
    for name in ("train/ant", "train/bee", "val/ant"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0.png").write_bytes(b"")
    _, page = made(tmp_path)
    assert "0 images of 2 classes" in page.text
    assert page.tags.count("svg") == 1  # nothing has a size
    for i in range(60):
        (tmp_path / f"train/c{i}").mkdir()
        Image.new("RGB", (9, 9), (i, 0, 0)).save(tmp_path / f"train/c{i}/0.png")
    _, page = made(tmp_path)
    assert "the largest and the smallest; 22 between them are left out" in page.text
