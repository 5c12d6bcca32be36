"""Several tasks on one backbone: their data, a training run, and what the answers are worth."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score

import xfer
from xfer.errors import DataError, UsageError
from xfer.evaluation.tasks import evaluate_tasks
from xfer.testing import NumpyBackend
from xfer.workflows.config import run_settings
from xfer.workflows.setup import read_data

KINDS = {"colour": "single-label", "tags": "multi-label", "size": "regression"}


@pytest.fixture
def table(tmp_path):
    """40 images; colour follows the brightest channel, tags and size the brightness; 40 % of all cells are empty."""
    rng = np.random.default_rng(0)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["image", "split", *KINDS])
        for i in range(40):
            channel, brightness = i % 2, int(rng.integers(0, 100))
            pixels = rng.integers(0, 50, (16, 16, 3)) + brightness
            pixels[..., channel] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
            tags = "|".join(name for name, there in (("light", brightness > 50), ("even", i % 2 == 0)) if there) or "-"
            cells = [("red", "green")[channel], tags, str(10 + 3 * brightness)]
            kept = [cell if i < 4 or rng.random() > 0.4 else "" for cell in cells]
            out.writerow([f"{i}.png", "train" if i < 30 else "val", *kept])
    return tmp_path / "table.csv"


def build(data, precision="fp64", **options):
    settings = {"weights": None, "image_size": 16, "precision": precision, "tasks": data.tasks} | options
    return xfer.load("tiny", backend=NumpyBackend(), **settings)


def test_targets_and_what_is_missing(table):
    data = xfer.data.manifest(table, tasks=KINDS)
    rows = list(csv.DictReader(table.open()))
    assert [(t.name, t.kind, t.classes) for t in data.tasks] == [
        ("colour", "single-label", ("green", "red")),
        ("tags", "multi-label", ("even", "light")),
        ("size", "regression", ("size",)),
    ]
    for row, target, label in zip(rows[:30], data.train.targets, data.train.labels, strict=True):
        colour = ("green", "red").index(row["colour"]) if row["colour"] else -1
        assert label == colour
        assert (np.isnan(target[0]) and colour == -1) or target[0] == colour
        assert np.isnan(target[1:3]).all() == (row["tags"] == "")
        if row["tags"]:
            assert target[1:3].tolist() == ["even" in row["tags"], "light" in row["tags"]]
        assert (np.isnan(target[3]) and not row["size"]) or target[3] == float(row["size"])
    sizes = [float(row["size"]) for row in rows[:30] if row["size"]]
    assert data.tasks[2].mean == pytest.approx((np.mean(sizes),))
    assert data.tasks[2].std == pytest.approx((np.std(sizes),))
    for name in KINDS:
        missing = sum(not row[name] for row in rows[:30])
        assert f"task {name}: {missing} of 30 training images lack its target" in data.notes


def test_a_run_with_missing_labels_learns_and_comes_back(table, tmp_path):
    data = xfer.data.manifest(table, tasks=KINDS)
    model = build(data)
    trainer = xfer.Trainer(model, lr=0.02, batch_size=10, progress=False, restore_best=False)
    rows = trainer.fit(data, 25)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    found = model.evaluate(data)
    assert found.metrics["colour_accuracy"] > 0.8
    assert rows[-1]["val_loss"] == pytest.approx(found.metrics["loss"])
    trainer.save(tmp_path / "run")
    again = xfer.load(tmp_path / "run", backend=NumpyBackend())
    assert again.spec.tasks == model.spec.tasks
    assert again.evaluate(data).metrics == found.metrics
    resumed = xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), progress=False)
    assert resumed.stepper.update.loss == trainer.stepper.update.loss
    answers = again.predict_tasks([str(table.parent / "0.png"), str(table.parent / "1.png")])
    assert {name: array.shape for name, array in answers.items()} == {"colour": (2, 2), "tags": (2, 2), "size": (2, 1)}
    assert answers["colour"].sum(1) == pytest.approx([1, 1])
    found.write_csv(tmp_path / "answers.csv")
    written = list(csv.reader((tmp_path / "answers.csv").open()))
    assert len(written) == len(found) + 1
    assert written[0][1:4] == ["colour (target)", "tags (target)", "size (target)"]
    with pytest.raises(UsageError, match="call predict_tasks"):
        again.predict("0.png")


def test_metrics_are_scikit_learns_over_the_targets_there_are():
    tasks = (
        xfer.Task("a", classes=("x", "y", "z")),
        xfer.Task("b", "multi-label", ("p", "q"), weight=2.0),
        xfer.Task("c", "regression", ("c",), mean=(5.0,), std=(2.0,)),
    )
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((50, 6))
    targets = np.column_stack([rng.integers(0, 3, 50), rng.integers(0, 2, (50, 2)), rng.standard_normal(50)]).astype(
        float
    )
    targets[rng.random(targets.shape) < 0.3] = np.nan
    found = evaluate_tasks(tasks, logits, targets, [str(i) for i in range(50)])
    known = ~np.isnan(targets)
    rows = known[:, 0]
    assert found.metrics["a_accuracy"] == (logits[rows, :3].argmax(1) == targets[rows, 0]).mean()
    for name, score in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
        each = [score(targets[known[:, k], k], logits[known[:, k], k + 2]) for k in (1, 2)]
        assert found.metrics[f"b_{name}"] == pytest.approx(np.mean(each))
    both = known[:, 1:3]
    expected = f1_score(targets[:, 1:3][both], (logits[:, 3:5] > 0)[both])
    assert found.metrics["b_micro_f1"] == pytest.approx(expected)
    said, truth = logits[known[:, 3], 5] * 2 + 5, targets[known[:, 3], 3] * 2 + 5
    assert found.metrics["c_mae"] == pytest.approx(np.abs(said - truth).mean())
    assert found.metrics["c_r2"] == pytest.approx(r2_score(truth, said))
    spread = ((logits[known[:, 3], 5] - targets[known[:, 3], 3]) ** 2).mean()
    p = 1 / (1 + np.exp(-logits[:, 3:5]))
    binary = -np.where(targets[:, 1:3] == 1, np.log(p), np.log(1 - p))[both].mean()
    assert found.metrics["loss"] == pytest.approx(log_loss(logits, targets) + 2 * binary + spread)


def log_loss(logits, targets):
    rows = ~np.isnan(targets[:, 0])
    z = logits[rows, :3]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return -np.log(p[np.arange(rows.sum()), targets[rows, 0].astype(int)]).mean()


def test_refusals(table, tmp_path):
    data = xfer.data.manifest(table, tasks=KINDS)
    model = build(data)
    with pytest.raises(DataError, match="the model has tasks colour, tags, size"):
        model.evaluate(xfer.data.manifest(table, tasks={"colour": "single-label"}))
    with pytest.raises(UsageError, match="give each Task its own"):
        xfer.Trainer(model, loss=xfer.LossSpec())
    with pytest.raises(UsageError, match="leave it out with several"):
        xfer.Trainer(model, mix="mixup", progress=False).fit(data, 1)
    text = table.read_text().replace("red", "blue", 1).replace("train", "val", 1)
    (tmp_path / "other.csv").write_text(text)
    with pytest.raises(DataError, match=r"other.csv line 2: column 'colour': 'blue' is not among the classes"):
        xfer.data.manifest(tmp_path / "other.csv", tasks=KINDS)
    with pytest.raises(DataError, match=r"column 'colour' is '.*': give a number"):
        xfer.data.manifest(table, tasks={"colour": "regression"})
    with pytest.raises(UsageError, match="letters, digits and underscores"):
        xfer.Task("a.b", classes=("x",))
    with pytest.raises(UsageError, match="classes and tasks are both given"):
        build(data, classes=["a", "b"])


def test_the_configuration_says_it_all(table):
    config = run_settings({"data": str(table), "tasks": "colour=single-label,size=regression"})
    assert [task.name for task in read_data(config).tasks] == ["colour", "size"]
