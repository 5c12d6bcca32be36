"""The plots of one evaluation show what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from xfer.evaluation.reliability import reliability
from xfer.report import plots


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"), int)


@pytest.mark.parametrize("classes", [1, 2, pytest.param(50, marks=pytest.mark.long), 200])
def test_any_number_of_classes(classes):
    counts = np.random.default_rng(0).integers(0, 9, (classes, classes))
    image = pixels(plots.confusion(counts, [f"class {i}" for i in range(classes)]))
    assert image.shape[0] > 300
    assert not np.array_equal(image, pixels(plots.confusion(counts + np.eye(classes, dtype=int), ["x"] * classes)))


def test_class_names_are_text_and_nothing_else(recwarn):
    names = ["$x$", "$\\frac{", "a\nb", "\udcff", "虎", "w" * 200]
    plots.confusion(np.eye(6, dtype=int), names)
    assert [str(warning.message) for warning in recwarn] == []


def test_confusion_colours_the_share_of_the_row():
    """The diagonal alone is of full strength where all is right; rows are scaled each by itself."""
    image = pixels(plots.confusion(np.diag([1, 1000]), ["a", "b"]))
    other = pixels(plots.confusion(np.diag([1, 1000])[::-1], ["a", "b"]))
    dark = [(np.abs(found - (115, 177, 213)).sum(axis=2) < 12) for found in (image, other)]
    for found, slope in zip(dark, (1, -1), strict=True):
        rows, columns = np.nonzero(found)
        assert np.sign(np.corrcoef(rows, columns)[0, 1]) == slope
    assert dark[0].sum() == pytest.approx(dark[1].sum(), rel=0.1)


def test_reliability_shows_gaps_only_where_there_are_some():
    def red(found):
        r, g, b = np.moveaxis(pixels(plots.reliability(found)), 2, 0)
        return int(((r > g + 40) & (r > b + 40)).sum())

    confidence = np.full(100, 0.9)
    calibrated, sure = reliability(confidence, np.arange(100) < 90), reliability(confidence, np.arange(100) < 30)
    assert red(sure) > 3 * red(calibrated)


def test_reliability_of_one_image():
    assert pixels(plots.reliability(reliability(np.array([1.0]), np.array([True])))).std() > 0
