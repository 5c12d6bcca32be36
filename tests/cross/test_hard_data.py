"""Hard data on both frameworks: the same run with missing targets, soft labels, resampled classes; one ensemble."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.suites.command_line import SMALL, document, xfer_command

BACKENDS = ("torch", "tensorflow")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """120 digits with two tasks, which digit and how much ink, and a column; 40 % of the targets are missing."""
    folder = tmp_path_factory.mktemp("table")
    digits, rng = load_digits(), np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["image", "split", "odd", "ink", "hint"])
        for i in range(120):
            Image.fromarray((digits.images[i] * 15.9).astype(np.uint8)).resize((32, 32)).save(folder / f"{i}.png")
            targets = [("even", "odd")[digits.target[i] % 2], f"{digits.images[i].sum():.1f}"]
            kept = [cell if i < 4 or rng.random() > 0.4 else "" for cell in targets]
            hint = "" if rng.random() < 0.3 else str(rng.integers(5))
            out.writerow([f"{i}.png", "train" if i < 90 else "val", *kept, hint])
    return folder / "table.csv"


def losses(data, folder, *options):
    """Training and validation loss of every epoch, by backend."""
    found = {}
    for backend in BACKENDS:
        command = ("train", data, *options, "--precision", "fp64", "--backend", backend, "--json")
        metrics = document(xfer_command(*command, "--out", folder / backend))
        found[backend] = [(row["loss"], row["val_loss"]) for row in metrics["epochs"]]
    return found


@pytest.mark.long
def test_two_tasks_with_missing_targets_and_a_column(table, tmp_path):
    """The same run in both, a head and the last block; and the run of one is judged by the other."""
    options = ("--model", "tiny", "--weights", "none", "--image-size", "32", "--epochs", "5", "--fine-tune", "2")
    tasks = ("--tasks", "odd=single-label,ink=regression", "--columns", "hint", "--lr", "0.01")
    found = losses(table, tmp_path, *options, *tasks)
    np.testing.assert_allclose(found["torch"], found["tensorflow"], rtol=1e-9)
    assert min(loss for loss, _ in found["torch"][1:]) < found["torch"][0][0], found
    metrics = json.loads((tmp_path / "torch" / "metrics.json").read_text())
    judged = document(xfer_command("evaluate", tmp_path / "torch", table, "--backend", "tensorflow", "--json"))
    for name in ("loss", "odd_accuracy", "ink_mae"):
        assert judged[name] == pytest.approx(metrics["val"][name], rel=1e-9)


@pytest.mark.long
@pytest.mark.parametrize(
    "remedy",
    [
        ("--mix", "mixup=0.4,cutmix", "--augment-minority", "strong", "--sampling", "balanced"),
        ("--loss", "focal", "--class-weights", "effective", "--sampling", "over", "--swa", "2"),
        ("--resample", "smote", "--loss", "logit-adjusted", "--calibrate", "--thresholds", "macro_f1"),
    ],
    ids=["mixed", "focal", "smote"],
)
def test_remedies_for_skewed_classes_are_the_same_run(remedy, tmp_path):
    found = losses("digits", tmp_path, *SMALL, *remedy)
    np.testing.assert_allclose(found["torch"], found["tensorflow"], rtol=1e-9)


GAN = """
import sys
import numpy as np
from xfer.features.gan import GanSpec, generated

rng = np.random.default_rng(0)
labels = np.repeat([0, 1, 2], [30, 20, 6])
features = rng.standard_normal((56, 12)) + 2 * labels[:, None]
spec = GanSpec(noise=8, hidden=32, updates=300, precision="fp64", rate=1e-3)
losses = []
made = generated(features, labels, np.full(200, 2), spec, 0, sys.argv[1], losses)
np.savez(sys.argv[2], made=made, losses=np.array(losses), real=features[labels == 2])
"""


@pytest.mark.long
def test_the_gan_makes_the_same_features_on_all(tmp_path):
    found = {}
    for backend in (*BACKENDS, "jax"):
        out = tmp_path / f"{backend}.npz"
        subprocess.run([sys.executable, "-c", GAN, backend, out], check=True)
        found[backend] = np.load(out)
    for name in ("made", "losses"):
        expected = found["torch"][name]
        for backend in ("tensorflow", "jax"):
            assert np.abs(found[backend][name] - expected).max() <= 1e-9 * np.abs(expected).max(), (backend, name)
    made, real = found["torch"]["made"], found["torch"]["real"]
    distance = np.linalg.norm(made.mean(0) - real.mean(0))
    assert distance < 0.5 * np.linalg.norm(2 * np.ones(12)), "nearer to its class than to the next one's"


@pytest.mark.long
def test_an_ensemble_of_both_frameworks_from_its_checkpoint(tmp_path):
    """Made by one process, judged by another; its probabilities are the mean of its members'."""
    members = []
    for backend, seed in (("tensorflow", 1), ("torch", 2)):
        out = tmp_path / backend
        result = xfer_command("train", "digits", *SMALL, "--seed", seed, "--backend", backend, "--out", out)
        assert result.returncode == 0, result.stderr
        members.append(out)
    (tmp_path / "same.toml").write_text('data = "digits"\nlimit = 60\n')
    config = ("--config", tmp_path / "same.toml")
    made = xfer_command("ensemble", *members, "--out", tmp_path / "both")
    assert made.returncode == 0, made.stderr
    judged = document(xfer_command("evaluate", tmp_path / "both", *config, "--json"))
    assert judged["backend"] == "tensorflow, torch"
    alone = {}
    for member in members:
        code = (
            "import sys, numpy as np, xfer\n"
            "data = xfer.data.digits()\n"
            "np.savez(sys.argv[2], p=xfer.load(sys.argv[1]).predict_proba(data.val.limit(60, 0)),"
            " y=data.val.limit(60, 0).labels)"
        )
        subprocess.run([sys.executable, "-c", code, member, tmp_path / f"{member.name}.npz"], check=True)
        alone[member.name] = np.load(tmp_path / f"{member.name}.npz")
    mean = (alone["torch"]["p"] + alone["tensorflow"]["p"]) / 2
    labels = alone["torch"]["y"]
    assert judged["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
    assert judged["loss"] == pytest.approx(-np.log(mean[np.arange(len(labels)), labels]).mean(), rel=1e-5)
    voted = xfer_command("ensemble", *members, "--out", tmp_path / "voted", "--vote", "digits")
    assert voted.returncode == 0, voted.stderr
    assert "ensemble:" in voted.stdout
