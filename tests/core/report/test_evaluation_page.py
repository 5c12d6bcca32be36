"""The page of an evaluation: its figures, its pictures, and what it says of odd data."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xfer
from tests.core.report.pages import Page
from xfer.data import Skipped, Split
from xfer.evaluation.evaluation import evaluate_logits
from xfer.report.evaluation_page import render
from xfer.specs.decision import Decision
from xfer.testing import NumpyBackend

CLASSES = ("a", "b", "c")


@pytest.fixture
def images():
    """30 images of one colour each, by which a picture in the page is known again."""
    return np.array([np.full((16, 16, 3), (8 * i, 255 - 8 * i, 90), np.uint8) for i in range(30)])


def model_of(classes, **options):
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=classes, image_size=16, **options)


def logits_of(labels, classes, wrong=(), seed=0):
    """Logits that name the label, but for the rows that are wrong, which name the next class."""
    rng = np.random.default_rng(seed)
    named = np.array(labels)
    named[list(wrong)] = (named[list(wrong)] + 1) % classes
    return rng.normal(size=(len(named), classes)) + 8 * np.eye(classes)[named]


def page_of(evaluation, model, images, labels, **options):
    split = Split(list(images), labels, evaluation.names, evaluation.classes)
    html = render(evaluation, model, split, data="photos", backend="numpy", cache=False, **options).decode()
    return Page(html), html


def evaluated(labels, classes=CLASSES, wrong=(), names=None, **options):
    names = names or [f"val/{i}.png" for i in range(len(labels))]
    return evaluate_logits(logits_of(labels, len(classes), wrong), np.array(labels), names, tuple(classes), **options)


def average_colour(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), float).mean(axis=(0, 1))


def test_figures_pictures_and_charts(model, images):
    labels = np.arange(30) % 3
    wrong = [4, 11, 20]
    found = evaluated(labels, wrong=wrong)
    page, _ = page_of(found, model, images, labels)
    assert "27 of 30 images (90.0 %) have the right class" in page.text
    for name in ("accuracy", "macro_f1", "loss", "ece"):
        bounds = found.interval(name)
        assert f"{found.metrics[name]:.4f} {bounds.low:.4f} to {bounds.high:.4f}" in page.text
    spoken = page.values("svg", "aria-label")
    assert "Confusion matrix: 27 of 30 images on the diagonal" in spoken
    assert [each.partition(":")[0] for each in spoken[1:4]] == ["Reliability diagram", "ROC", "Precision over recall"]
    # The mistakes in the order of their losses, each with Grad-CAM; then nothing else has that size.
    order = sorted(wrong, key=lambda row: -found.predictions.losses[row])
    texts = [text for text in page.texts if text.startswith("val/")]
    assert texts == [f"val/{row}.png" for row in order]
    by_alt = dict(zip(page.values("img", "alt"), page.values("img", "src"), strict=True))
    for row in wrong:
        assert np.abs(average_colour(by_alt[f"Image val/{row}.png"]) - images[row, 0, 0]).max() < 6
        assert f"Grad-CAM of val/{row}.png" in by_alt
    assert "There is none" not in page.text


def test_needs_nothing_but_itself(model, images):
    labels = np.arange(30) % 3
    page, html = page_of(evaluated(labels, wrong=[1]), model, images, labels)
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    assert "://" not in html
    assert "@import" not in html
    for _, key, value in page.attributes:
        if key in ("src", "href"):
            assert value.startswith(("data:image/", "#"))
    identifiers = [value for _, key, value in page.attributes if key == "id"]
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", html)) <= set(identifiers)


def test_the_map_is_the_principal_components(model, images):
    """Against the eigenvectors of the covariance; the drawing keeps ratios of distances."""
    labels = np.arange(30) % 3
    page, html = page_of(evaluated(labels, wrong=[4]), model, images, labels)
    points = json.loads(re.search(r'id="points">(.*?)</script>', html, re.DOTALL)[1])
    features = model.features(images).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(features.T))
    expected = (features - features.mean(axis=0)) @ vectors[:, [-1, -2]]
    drawn = np.stack([points["x"], points["y"]], axis=1)

    def distances(xy):
        apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
        return apart / apart.max()

    np.testing.assert_allclose(distances(drawn), distances(expected), atol=2e-3)
    shares = values[[-1, -2]] / values.sum()
    assert f"hold {100 * shares[0]:.0f} % and {100 * shares[1]:.0f} % of the variance" in page.text
    assert points["c"] == labels.tolist()
    assert points["n"][4] == "val/4.png"
    assert points["a"][4].startswith("true b, predicted c ")
    assert sorted(points["t"]) == list(range(30))
    assert html.count('class="ring c1"') == 1, "one wrong image, of class b"
    (style,) = [value for value in page.values("div", "style") if "url(" in value]
    sheet = re.search(r"url\((.*)\)", style)[1]
    tile = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.partition(",")[2]))).convert("RGB"), float)
    row, column = divmod(points["t"][7], points["columns"])
    middle = tile[row * points["tile"] + 36, column * points["tile"] + 36]
    assert np.abs(middle - images[7, 0, 0]).max() < 25


def test_ten_thousand_images_are_a_small_page(model):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 10_000)
    images = rng.integers(0, 256, (10_000, 16, 16, 3)).astype(np.uint8)
    names = [f"val/{'folder/' * 5}{i:06d}.png" for i in range(10_000)]
    found = evaluated(labels, wrong=range(0, 10_000, 20), names=names)
    page, html = page_of(found, model, images, labels)
    assert len(html.encode()) < 5_000_000
    assert "2,000 of 10,000 images, drawn at random" in page.text
    assert "(400 have one, wrong predictions first)" in page.text


def test_hostile_names_are_text(model, images):
    classes = (
        '<script>alert("x")</script>',
        "</script><img src=x onerror=alert(1)>",
        "#000001 url(#x) 蚂蚁 " + "w" * 300,
    )
    labels, names = np.arange(30) % 3, [f"val/<b onclick=x>{i}\udcff{'n' * 300}.png" for i in range(30)]
    hostile = model_of(classes)
    skipped = (Skipped("<i>bad</i>.png", "<u>no</u> image", False),)
    page, html = page_of(evaluated(labels, classes, [0, 1, 2], names, skipped=skipped), hostile, images, labels)
    assert page.tags.count("script") == 2
    assert not {"b", "i", "u"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert classes[0] in page.texts
    assert "<i>bad</i>.png" in page.texts
    assert "1 file could not be read" in page.text
    json.loads(re.search(r'id="points">(.*?)</script>', html, re.DOTALL)[1])


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_any_number_of_classes(count, images):
    classes = [f"c{i}" for i in range(count)]
    labels = np.arange(30) % count
    wrong = [] if count == 1 else [3, 7]
    page, html = page_of(evaluated(labels, classes, wrong), model_of(classes), images, labels)
    matrix = [each for each in page.values("svg", "aria-label") if each.startswith("Confusion")]
    assert len(matrix) == (count <= 50)
    if count == 1:
        assert "There is none: every image is right." in page.text
        assert "ROC" not in page.values("svg", "aria-label")
    if count == 1000:
        assert "1000 classes are too many for a matrix here" in page.text
        assert "800 more are in per_class.csv" in page.text
        assert "c3 predicted as c4" in page.text
        assert "970 of 1000 classes have no image here" in page.text
        assert len(html) < 1_500_000


def test_one_image(model, images):
    page, _ = page_of(evaluated([1]), model, images[:1], [1])
    assert "1 of 1 images (100.0 %) have the right class" in page.text
    assert "2 of 3 classes have no image here" in page.text
    assert "There is none: every image is right." in page.text


def test_what_can_no_longer_be_read_has_no_picture(model, images, tmp_path):
    labels = np.arange(30) % 3
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    paths[4].write_bytes(b"no picture")
    paths[7] = Path("gone.png")
    page, _ = page_of(evaluated(labels, wrong=[4, 7, 8]), model, paths, labels)
    assert page.text.count("no picture") == 2
    assert "Image val/8.png" in page.values("img", "alt")
    assert "The head's inputs of 28 of 30 images" in page.text


def test_thresholds_and_temperature_are_said(model, images):
    labels = np.arange(30) % 3
    found = evaluated(labels, decision=Decision(2.5, (0.5, 0.3, 0.2)))
    page, _ = page_of(found, model, images, labels)
    assert "Temperature 2.5 is in effect" in page.text
    assert "Decision thresholds are in effect: a 0.5, b 0.3, c 0.2." in page.text


def test_features_in_place_of_images(model, data):
    extracted = xfer.extract(model, data, cache=False)
    found = model.evaluate(extracted, cache=False)
    page = Page(render(found, model, extracted.judged, data="x", backend="numpy", cache=False).decode())
    assert "The data are outputs of 'features', not images" in page.text
    assert "Map of the features" in page.text
    assert "img" not in page.tags
    assert "Point at a dot" not in page.text


def test_an_ensemble_says_what_is_left_out(model, data):
    both = xfer.Ensemble((model, model))
    page = Page(render(both.evaluate(data, cache=False), both, data.judged, data="x", backend="numpy").decode())
    assert "There is no map of the features: each member of an ensemble has its own." in page.text
    assert "There is no Grad-CAM of an ensemble" in page.text
    assert "Worst mistakes" in page.text
    assert "script" not in page.tags


def test_an_estimator_as_head_has_a_map(data):
    from sklearn.linear_model import LogisticRegression

    model = model_of(CLASSES, head=xfer.Head.sklearn(LogisticRegression()))
    xfer.Trainer(model, progress=False, cache=False).fit(data)
    found = model.evaluate(data, cache=False)
    page = Page(render(found, model, data.judged, data="x", backend="numpy", cache=False).decode())
    assert "Map of the features" in page.text
    assert ("There is no Grad-CAM" in page.text) == bool((~found.predictions.correct).any())


def test_the_python_function_writes_what_the_command_does(model, data, tmp_path):
    found = xfer.evaluation_report(model, data, tmp_path / "new" / "page", cache=False)
    files = {path.name for path in (tmp_path / "new" / "page").iterdir()}
    assert files >= {"evaluation.html", "evaluation.json", "per_class.csv", "confusion.png"}
    written = json.loads((tmp_path / "new" / "page" / "evaluation.json").read_text())
    assert written["accuracy"] == found.metrics["accuracy"] == model.evaluate(data, cache=False).metrics["accuracy"]
