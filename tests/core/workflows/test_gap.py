"""What a part is worth: against runs that are made by hand, against scipy, and which parts a run does not have."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

import xfer
from tests.core.report.test_page import HOSTILE, Page
from tests.core.workflows.test_ranking import noisy
from xfer.cli.app import app
from xfer.errors import DataError, UnknownNameError, UsageError
from xfer.report import gap as pages
from xfer.specs.head import Head
from xfer.specs.numerics import PARTS, Numerics
from xfer.specs.settings import RunSettings
from xfer.specs.tasks import Task
from xfer.testing import NumpyBackend
from xfer.workflows.differences.chosen import Run, exchanges
from xfer.workflows.differences.interval import Estimate

SEEDS = 2
SMALL = {
    "model": "tiny",
    "weights": "none",
    "image_size": 8,
    "epochs": 1,
    "fine_tune": 1,
    "lr": 0.02,
    "batch_size": 20,
}


@pytest.fixture(scope="module")
def data():
    return xfer.data.arrays(*noisy(50), classes=("a", "b", "c"), val=0.3)


def gap(data, **options):
    settings = {"backend": NumpyBackend(), "progress": False, "cache": False, "seeds": SEEDS} | SMALL
    return xfer.gap(data, **(settings | options))


def by_hand(data, numerics, seed, first=0, **options):
    """Accuracy and loss of one run, without the workflow."""
    model = xfer.load(
        "tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=8, seed=first, numerics=numerics
    )
    model.set_weights(Head().initial("fc", 16, 3, seed, numerics.head_init))
    settings = {"batch_size": 20, "restore_best": False, "progress": False, "cache": False} | options
    trainer = xfer.Trainer(model, lr=SMALL["lr"], seed=seed, **settings)
    trainer.fine_tune(data, head_epochs=1, epochs=1, train_norm=True)
    metrics = model.evaluate(data).metrics
    return metrics["accuracy"], metrics["loss"]


def test_against_runs_by_hand(data):
    """Each difference is that of two runs with one seed; padding and the head's weights, alone and together."""
    found = gap(data, parts="padding,head-init", seed=4)
    torch = Numerics.habits("torch")
    kinds = [torch, replace(torch, padding="same"), replace(torch, head_init="glorot")]
    kinds.append(replace(kinds[1], head_init="glorot"))
    scores = np.array([[by_hand(data, kind, seed, first=4) for seed in (4, 5)] for kind in kinds])
    assert found.seeds == (4, 5)
    assert np.allclose(np.column_stack([found.accuracy, found.loss]), scores[0], rtol=1e-12)
    for effect, theirs in zip((*found.effects, found.together), scores[1:], strict=True):
        mine = np.column_stack([effect.accuracy.by_seed, effect.loss.by_seed])
        assert np.allclose(mine, theirs - scores[0], atol=1e-12), effect.name
    left = scores[3] - scores[1] - scores[2] + scores[0]
    assert np.allclose(found.unexplained.loss.by_seed, left[:, 1], atol=1e-12)
    assert abs(np.array(found.effects[0].loss.by_seed)).min() > 1e-4


@pytest.mark.long
def test_all_parts_that_apply(data):
    """The others keep the first habit in all runs."""
    found = gap(data, from_="keras", to="pytorch", optimizer="sgd", augment="crop")
    kept = {"decay": "keras", "reduction": "count", "shuffle": "buffer"}
    assert {effect.name for effect in found.effects} == PARTS.keys() - kept.keys()
    reasons = {each.name: each.reason for each in found.not_applied}
    assert reasons == {
        "decay": "sgd has no weight decay, in neither by default",
        "reduction": "the loss has no class weights",
        "shuffle": "35 images fit into the buffer of 160",
    }
    whole = by_hand(data, replace(Numerics.habits("torch"), **kept), 0, optimizer="sgd", augment="crop")
    assert np.isclose(found.together.loss.by_seed[0] + found.loss[0], whole[1], rtol=1e-9)


def test_cached_features_are_those_of_the_same_habits(data, tmp_path):
    parts = "resize,padding,norm-eps,normalisation"
    plain, cached = gap(data, parts=parts), gap(data, parts=parts, cache=tmp_path)
    for one, other in zip(plain.rows, cached.rows, strict=True):
        assert np.allclose(one.loss.by_seed, other.loss.by_seed, atol=1e-5), one.name
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) >= 6


@given(st.lists(st.tuples(*[st.floats(-10, 10)] * 2), min_size=2, max_size=8))
def test_intervals_are_those_of_a_paired_t_test(pairs):
    a, b = np.array(pairs).T
    found = Estimate.of((b - a).tolist())
    assert np.isclose(found.mean, (b - a).mean(), atol=1e-9)
    if np.std(b - a) > 1e-6:
        expected = stats.ttest_rel(b, a).confidence_interval(0.95)
        assert np.allclose((found.low, found.high), (expected.low, expected.high), rtol=1e-6, atol=1e-9)
        assert found.within_noise == (stats.ttest_rel(b, a).pvalue >= 0.05)


def test_equal_differences_are_no_noise():
    assert Estimate.of([0.0, 0.0]).within_noise
    assert not Estimate.of([0.1, 0.1, 0.1]).within_noise
    assert Estimate.of([0.01, 0.03]).text(100) == "+2.00 ± 12.71"


def test_parts_that_are_named():
    assert [each.part.name for each in exchanges("torch", "keras", None)] == list(PARTS)
    (each,) = exchanges("keras", "torch", ["norm-eps"])
    assert (each.before, each.after, each.words) == (
        1e-3,
        1e-5,
        ("epsilon of batch normalisation 1e-3", "epsilon of batch normalisation 1e-5"),
    )
    nearest, eps = exchanges("torch", "keras", "resize=nearest, norm-eps=0.01")
    assert (nearest.after, eps.after, nearest.words[1]) == ("nearest", 0.01, "nearest")
    for kind, parts, match in (
        (UnknownNameError, "paddin", "did you mean"),
        (UnknownNameError, "padding=odd", "value of padding"),
        (UsageError, "padding,padding", "given twice"),
        (UsageError, "padding=symmetric", "torch's habit already"),
        (UsageError, "norm-eps=big", "between 0 and 1"),
    ):
        with pytest.raises(kind, match=match):
            exchanges("torch", "keras", parts)
    with pytest.raises(UsageError, match="same habits"):
        exchanges("torch", "pytorch", None)


@pytest.mark.parametrize(
    ("options", "images", "part", "reason"),
    [
        ({}, 35, "norm-momentum", ""),
        ({"fine_tune": 0}, 35, "norm-momentum", "no batch normalisation is trained"),
        ({"fine_tune": 0, "hidden": (4,)}, 35, "norm-variance", ""),
        ({"train_norm": False}, 35, "norm-variance", "no batch normalisation is trained"),
        ({"optimizer": "adam"}, 35, "optimizer", ""),
        ({"optimizer": "sgd"}, 35, "optimizer", ""),
        ({"optimizer": "sgd", "fine_tune": 0}, 35, "optimizer", "the rate never changes"),
        ({"optimizer": "sgd", "fine_tune": 0, "schedule": "cosine"}, 35, "optimizer", ""),
        ({"optimizer": "sgd", "momentum": 0}, 35, "optimizer", "without momentum"),
        ({}, 35, "decay", ""),
        ({"weight_decay": 0.1}, 35, "decay", "weight_decay is given"),
        ({"optimizer": "adam"}, 35, "decay", "no weight decay"),
        ({"optimizer": "adam", "weight_decay": 0.1}, 35, "decay", ""),
        ({"class_weights": "balanced"}, 35, "reduction", ""),
        ({}, 35, "last-batch", ""),
        ({}, 40, "last-batch", "40 images fill all batches of 20"),
        ({}, 20, "last-batch", "20 images are one batch"),
        ({}, 161, "shuffle", ""),
        ({"augment": "flip"}, 35, "augmentation-order", "no random crop"),
        ({"augment": "light"}, 35, "augmentation-order", ""),
    ],
)
def test_what_a_run_lacks(options, images, part, reason):
    config = RunSettings.of({"data": "x", **SMALL, "train_norm": True, **options})
    head = Head(config.hidden, norm="batch" if config.hidden else None)
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=3, image_size=16, head=head)
    found = Run(config, images, model).lacks(PARTS[part])
    assert reason in found
    assert bool(found) == bool(reason)


def test_what_is_refused(data):
    for match, options in (
        ("at least 2", {"seeds": 1}),
        ("lr=auto", {"lr": "auto"}),
        ("no part applies to this run: shuffle", {"parts": "shuffle"}),
        ("epochs and fine_tune are both 0", {"epochs": 0, "fine_tune": 0}),
    ):
        with pytest.raises(UsageError, match=match):
            gap(data, **options)
    with pytest.raises(UnknownNameError, match="option"):
        gap(data, resample="smote")
    with pytest.raises(DataError, match="no validation images"):
        gap(replace(data, val=None))
    unlabelled = replace(data.val, labels=np.full(len(data.val), -1))
    with pytest.raises(DataError, match="no labelled validation images"):
        gap(replace(data, val=unlabelled))
    with pytest.raises(UsageError, match="tasks"):
        gap(replace(data, tasks=(Task("a", classes=("x", "y")),)))


@pytest.fixture(scope="module")
def measured(data):
    return gap(data, parts="padding,head-init,shuffle")


def test_the_page_holds_each_row_and_the_sources(measured):
    page = Page(pages.render(measured).decode())
    for row in measured.rows:
        assert row.accuracy.text(100) in page.texts
        assert row.loss.text(1, 4) in page.texts
    assert "habits of keras" in page.drawn
    assert 'keras.layers.Conv2D(padding="same")' in page.text
    assert "shuffle: 35 images fit into the buffer of 160" in page.text
    assert page.values("a", "href") + page.values("img", "src") + page.values("script", "src") == []


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(measured, name):
    images = replace(measured.images, source=f"/x/{name.replace('/', '')}")
    page = Page(pages.render(replace(measured, model=name, images=images)).decode())
    assert "script" not in page.tags
    assert not [where for where, key, value in page.attributes if key.startswith("on")]


def test_what_is_less_than_seeds_differ(measured):
    """Is said to be, beside what is within noise."""
    clear, nothing = Estimate.of([0.5, 0.5, 0.5]), Estimate.of([0.0, 0.0, 0.0])
    small, unseen = Estimate.of([1e-4, 1e-4, 1e-4]), Estimate.of([1e-9, 1e-9, 1e-9])
    effect = measured.effects[0]
    assert measured.finding(replace(effect, accuracy=nothing, loss=nothing)) == "within noise"
    assert measured.finding(replace(effect, accuracy=clear, loss=small)) == "accuracy, (loss)"
    assert measured.finding(replace(effect, accuracy=clear, loss=unseen)) == "accuracy"
    assert "padding" in measured.summary() or "no part" in measured.summary()


@pytest.fixture
def command(tmp_path):
    """Runs the command on 36 photos in three classes."""
    from typer.testing import CliRunner

    rng = np.random.default_rng(0)
    for i in range(36):
        folder = tmp_path / "photos" / ("val" if i < 12 else "train") / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 28, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    words = ["--model", "tiny", "--weights", "none", "--image-size", "8", "--backend", "xfer.testing:NumpyBackend"]
    words += ["--epochs", "1", "--fine-tune", "1", "--seeds", "2", "--no-cache"]

    def run(*options):
        return CliRunner().invoke(app, ["gap", str(tmp_path / "photos"), *words, *map(str, options)])

    return run


def test_the_command(command, tmp_path):
    result = command("--parts", "crop,last-batch", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["part", "crop", "unexplained", "all", "tiny:"]
    assert any(line.startswith("last-batch does not apply: 24 images are one batch") for line in lines)
    assert (tmp_path / "out" / "gap.html").is_file()
    written = json.loads((tmp_path / "out" / "gap.json").read_text())
    again = command("--from", "torch", "--to", "keras", "--parts", "crop", "--json")
    found = json.loads(again.stdout)
    assert found["effects"] == written["effects"]
    assert found["seeds"] == [0, 1]


def test_the_command_refuses_in_one_line(command):
    result = command("--parts", "crop", "--to", "torch")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: from=torch and to=torch are the same habits")
