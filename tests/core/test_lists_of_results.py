"""What `fit` and `predict` return is still a list, and what a notebook shows of it is of the right image."""

import base64
import copy
import io
import json
import pickle
import re

import numpy as np
import pytest
from PIL import Image

import xfer
from xfer.models.prediction_list import SHOWN, PredictionList
from xfer.testing.numpy_backend import NumpyBackend
from xfer.training.history import History


def test_history_is_a_list_of_dictionaries():
    rows = [{"epoch": i, "loss": 1.0 / i, "val_loss": float("nan") if i == 2 else 0.5} for i in range(1, 6)]
    history = History(rows)
    assert history == rows
    assert json.loads(json.dumps(history)) == json.loads(json.dumps(rows))
    for again in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history), history[:]):
        assert type(again) is History
        assert again[0] == rows[0]
    assert history[1:3] == rows[1:3]
    assert history[-1] is rows[-1]
    history[:] = rows[:2]
    assert len(history) == 2
    history.append(rows[2])
    assert history.column("epoch") == [1, 2, 3]
    assert "<polyline" in history._repr_html_()
    assert "nan" not in re.findall(r'points="([^"]*)"', history._repr_html_())[1]
    assert "no epoch" in History()._repr_html_()
    assert repr(History()) == "History(0 epochs)"


@pytest.fixture(scope="module")
def model():
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["ant", "bee"])


def colours(predictions):
    """The colour in the middle of each picture of the view, rounded to tens."""
    sources = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', predictions._repr_html_())
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source in sources]
    return [tuple(int(round(v, -1)) for v in p[p.shape[0] // 2, p.shape[1] // 2].tolist()) for p in pictures]


COLOURS = [(0, 100, 200), (200, 0, 100), (100, 200, 0)]


def test_predictions_show_the_pictures_that_they_are_of(model, tmp_path):
    images = [Image.new("RGB", (300, 200), colour) for colour in COLOURS]
    paths, encoded = [], []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        image.save(paths[-1])
        encoded.append(paths[-1].read_bytes())
    for given in (images, paths, encoded, [np.asarray(image) for image in images], np.stack(images), tmp_path):
        found = model.predict(given)
        assert type(found) is PredictionList
        assert colours(found) == COLOURS
    assert found == list(found) == model.predict(images)
    assert colours(found[1:]) == COLOURS[1:]
    found.reverse()  # a list may be changed, and the pictures go with it
    assert colours(found) == COLOURS[::-1]
    found.sort(key=lambda prediction: prediction.probability)
    by_probability = sorted(zip([p.probability for p in model.predict(images)], COLOURS, strict=True))
    assert colours(found) == [colour for _, colour in by_probability]
    for again in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert again == found
        assert colours(again) == colours(found)
    assert "<img" not in sorted(found, key=str).__repr__()


def test_an_image_that_cannot_be_read_and_a_file_that_has_gone(model, tmp_path, capsys):
    path = tmp_path / "0.png"
    Image.new("RGB", (9, 9), COLOURS[0]).save(path)
    (tmp_path / "1.png").write_bytes(b"broken")
    found = model.predict(tmp_path, on_bad="report")
    assert found[1] is None
    assert "cannot be read" in found._repr_html_()
    assert colours(found) == COLOURS[:1]
    assert repr(found).endswith("None]")
    path.unlink()
    assert "no picture" in found._repr_html_()


def test_few_pictures_are_kept_and_they_are_small(model):
    """A list of predictions does not keep the images alive that were given, but some thumbnails."""
    images = np.zeros((40, 500, 400, 3), np.uint8)
    found = model.predict(images)
    assert found._repr_html_().count("<img") == SHOWN
    assert f"... {40 - SHOWN} more images" in found._repr_html_()
    assert len(pickle.dumps(found)) < SHOWN * 150 * 150 * 3 < images.nbytes / 10
    assert all(not np.shares_memory(each.source, images) for each in found._shown)


def test_a_data_set_that_makes_its_images_anew_is_not_read_again(model):
    class Random:
        """Yields another image each time."""

        reads = 0

        def __len__(self):
            return 6

        def __getitem__(self, index):
            if index >= 6:
                raise IndexError
            Random.reads += 1
            return np.random.default_rng().integers(0, 256, (8, 8, 3), np.uint8), index % 2

    data = xfer.data.load(Random(), val=0.34)
    before = Random.reads
    found = model.predict(data.train)
    once = Random.reads - before
    assert once == len(data.train)
    assert "<img" not in found._repr_html_()
    assert Random.reads - before == once


@pytest.mark.parametrize("values", [[0.1, 0.5, 0.3], [2e-5, 1e-6], [700.0, 12.0, 300.0, 5.0], [0.5, 0.5], [0.97, 1.0]])
def test_curves_are_drawn_to_scale(values):
    """Values that are read off the picture by its ticks are those of the history."""
    shown = History({"epoch": i, "val_accuracy": v} for i, v in enumerate(values, 1))._repr_html_()
    ticks = re.findall(r'<text x="\d+" y="([\d.]+)" text-anchor="end">([^<]+)</text>', shown)
    (line,) = re.findall(r'<polyline points="([^"]+)"', shown)
    heights, numbers = (np.array(each, float) for each in zip(*ticks, strict=True))
    assert 2 <= len(ticks) <= 7
    slope, offset = np.polyfit(heights - 3.5, numbers, 1)  # a label stands 3.5 pixels below its tick
    read = [slope * float(point.split(",")[1]) + offset for point in line.split()]
    np.testing.assert_allclose(read, values, atol=np.ptp(numbers) / 100)
    assert numbers.max() <= max(1.0, *values) * 1.5
    across = [float(point.split(",")[0]) for point in line.split()]
    np.testing.assert_allclose(np.diff(across), np.diff(across)[0], atol=0.2)
