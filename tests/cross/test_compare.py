"""The same short run on both frameworks, each in its process, and the comparison of the two."""

import csv
import json

import pytest

import xfer


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("comparison")


@pytest.fixture(scope="module")
def comparison(out):
    return xfer.compare(
        "digits", model="tiny", weights="none", limit=120, epochs=1, batch_size=16, augment="flip", out=out
    )


def column(out, backend, number):
    with (out / backend / "predictions.csv").open(newline="") as file:
        return [row[number] for row in csv.reader(file)][1:]


def test_both_answered_the_same_questions(comparison, out):
    for number in (0, 1):
        ours, theirs = (column(out, backend, number) for backend in ("torch", "tensorflow"))
        assert len(ours) == comparison.agreement.images == 120
        assert ours == theirs
    assert len(set(column(out, "torch", 1))) == 10


def test_the_first_epoch_is_the_same(comparison):
    ours, theirs = (comparison.runs[backend]["epochs"][0] for backend in ("torch", "tensorflow"))
    assert ours["images"] == theirs["images"] == 120
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-4)
    assert comparison.failed_checks == ()


def test_each_framework_did_its_own(comparison):
    assert "torch" in comparison.runs["torch"]["versions"]
    assert "tensorflow" in comparison.runs["tensorflow"]["versions"]
    assert comparison.runs["torch"]["seconds"]["head"] > 0
    assert comparison.runs["tensorflow"]["peak_memory_bytes"]["head"] > 0


def test_files(comparison, out):
    assert json.loads((out / "compare.json").read_text()) == json.loads(comparison.to_json())
    assert "<svg" in (out / "report.html").read_text("utf-8")
    for backend in ("torch", "tensorflow"):
        assert (out / backend / "manifest.json").is_file()
        assert (out / backend / "history.json").is_file()


@pytest.mark.long
def test_a_missing_device_is_told_before_anything_is_trained(tmp_path):
    with pytest.raises(xfer.XferError, match=r"^tensorflow: device 'cuda:77' is not here: available are .*$"):
        xfer.compare("digits", model="tiny", weights="none", device="cuda:77", out=tmp_path / "none")
    assert not (tmp_path / "none").exists()
