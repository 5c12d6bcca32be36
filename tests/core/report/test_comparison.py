"""Comparisons of hand-made runs: the numbers against brute force, and runs that cannot be compared."""

import json
import shutil
import sys

import numpy as np
import pytest
from rich.console import Console

import xfer.report.compare as study
from xfer.errors import CheckpointError, UsageError, XferError
from xfer.report.compare import compare, summarise
from xfer.specs.settings import RunSettings
from xfer.workflows.process import run_worker


@pytest.fixture
def two(make_run):
    """Two runs over 40 images and 3 classes that differ by noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40)
    scores = rng.normal(size=(40, 3))
    folders = []
    for seed, backend in enumerate(("torch", "tensorflow")):
        noise = np.random.default_rng(seed).normal(size=scores.shape)
        losses = [1.0, 0.5 + 0.01 * seed, 0.4 - 0.03 * seed][: 3 - seed]
        folders.append(make_run(backend, scores + 0.3 * noise, labels, ("a", "b", "c"), losses=losses))
    return folders


def read(folder):
    lines = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]
    return [(name, label, guess, [float(p) for p in row]) for name, label, guess, *row in lines]


def test_numbers_are_those_of_brute_force(two, tmp_path):
    comparison = summarise(two, tmp_path)
    ours, theirs = map(read, two)
    same = [a[2] == b[2] for a, b in zip(ours, theirs, strict=True)]
    differences = [abs(p - q) for a, b in zip(ours, theirs, strict=True) for p, q in zip(a[3], b[3], strict=True)]
    assert 0 < sum(same) < 40
    got = json.loads((tmp_path / "compare.json").read_text())
    assert got == json.loads(comparison.to_json())
    assert got["agreement"]["images"] == 40
    assert got["agreement"]["same_class"] == sum(same)
    assert got["agreement"]["share"] == pytest.approx(sum(same) / 40)
    assert got["agreement"]["mean_difference"] == pytest.approx(sum(differences) / len(differences))
    assert got["agreement"]["max_difference"] == pytest.approx(max(differences))
    # The second run has two epochs of the first one's three: only those two can differ.
    assert [row["epoch"] for row in got["agreement"]["epochs"]] == [1, 2]
    assert got["agreement"]["epochs"][1]["loss"] == pytest.approx(0.01)
    assert got["agreement"]["loss_difference"] == pytest.approx(0.02)  # val_loss is made twice the loss
    assert got["runs"]["torch"] == json.loads((two[0] / "metrics.json").read_text())


def test_disagreements_are_all_there_widest_gap_first(two, tmp_path):
    ours, theirs = map(read, two)
    expected = {
        a[0]: max(abs(p - q) for p, q in zip(a[3], b[3], strict=True))
        for a, b in zip(ours, theirs, strict=True)
        if a[2] != b[2]
    }
    found = summarise(two, tmp_path).disagreements
    assert {image.name: pytest.approx(image.gap) for image in found} == expected
    assert [image.gap for image in found] == sorted(expected.values(), reverse=True)
    _, label, guess, row = next(line for line in theirs if line[0] == found[0].name)
    assert found[0].label == label
    assert found[0].answers["tensorflow"].predicted == guess
    assert found[0].answers["tensorflow"].probability == pytest.approx(max(row))


def test_table_has_every_backend_and_the_agreement(two, tmp_path):
    comparison = summarise(two, tmp_path)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison.table())
    text = console.export_text()
    for expected in (
        "torch",
        "tensorflow",
        "val accuracy",
        "macro F1",
        "head, s",
        "total, s",
        "peak memory",
        "1.50 GiB",
    ):
        assert expected in text
    assert f"{comparison.agreement.same_class} of 40" in text


def changed(folder, **changes):
    path = folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def failed(folders, out):
    return [check.what for check in summarise(folders, out).failed_checks]


def test_equal_runs_pass_every_check(make_run, tmp_path):
    scores, labels = np.eye(4), np.arange(4)
    runs = [make_run(backend, scores, labels, "abcd") for backend in ("torch", "tensorflow")]
    assert failed(runs, tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "what", "detail"),
    [
        (
            {"data": {"source": "x", "train": 7, "val": 4, "skipped": []}},
            "training data",
            "torch: source gone, train 100; tensorflow: source x, train 7",
        ),
        ({"parameters": {"trainable": 1, "frozen": 2}}, "parameters", "tensorflow: trainable 1, frozen 2"),
        ({"device": "cuda:0"}, "device and precision", "torch: cpu, fp32; tensorflow: cuda:0, fp32"),
        ({"config": RunSettings(data="gone", lr=0.5).model_dump(mode="json")}, "configuration", "lr 0.5"),
    ],
)
def test_a_condition_that_differs_is_flagged(make_run, tmp_path, changes, what, detail):
    scores, labels = np.eye(4), np.arange(4)
    runs = [make_run(backend, scores, labels, "abcd") for backend in ("torch", "tensorflow")]
    changed(runs[1], **changes)
    assert failed(runs, tmp_path) == [what]
    assert detail in summarise(runs, tmp_path).failed_checks[0].detail
    assert "were not the same" in (tmp_path / "report.html").read_text()


def test_another_start_is_flagged(make_run, tmp_path):
    scores, labels = np.eye(4), np.arange(4)
    runs = [
        make_run(backend, scores, labels, "abcd", losses=[loss])
        for backend, loss in (("torch", 1.0), ("tensorflow", 1.01))
    ]
    assert failed(runs, tmp_path) == ["first epoch"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1, 1, 2, 3]}, "different labels for 'val/0.jpg'"),
        ({"names": ["val/9.jpg", "val/1.jpg", "val/2.jpg", "val/3.jpg"]}, "validated on different images"),
        ({"classes": "abce"}, "different classes"),
    ],
)
def test_runs_with_other_questions_are_refused(make_run, tmp_path, change, message):
    arguments = {"scores": np.eye(4), "labels": [0, 1, 2, 3], "classes": "abcd"}
    runs = [make_run("torch", **arguments), make_run("tensorflow", **(arguments | change))]
    with pytest.raises(XferError, match=message):
        summarise(runs, tmp_path)
    assert not (tmp_path / "compare.json").exists()


def test_damaged_and_missing_runs_are_one_line(make_run, tmp_path):
    whole = make_run("torch", np.eye(4), np.arange(4), "abcd")
    with pytest.raises(CheckpointError, match="is not a finished run"):
        summarise([whole, tmp_path / "nowhere"], tmp_path)
    broken = make_run("tensorflow", np.eye(4), np.arange(4), "abcd")
    (broken / "predictions.csv").write_text("name,label,predicted,a,b\n")
    with pytest.raises(CheckpointError, match="is damaged"):
        summarise([whole, broken], tmp_path)


@pytest.mark.parametrize("backends", [(), ("torch",), ("torch", "torch"), ("tensorflow", "keras"), "torch"])
def test_a_comparison_needs_two_backends(backends):
    with pytest.raises(UsageError, match="needs two or more different ones"):
        compare("digits", backends=backends)


def test_options_that_cannot_be(tmp_path):
    with pytest.raises(UsageError, match="unknown backend 'mxnet'"):
        compare("digits", backends=("torch", "mxnet"))
    with pytest.raises(UsageError, match="a path or 'digits', not a ndarray"):
        compare(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="unknown option 'epoch'"):
        compare("digits", epoch=3)
    with pytest.raises(UsageError, match="no option 'backend'"):
        compare("digits", backend="torch")


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_missing_libraries_are_named_before_anything_runs(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(study, "run_worker", lambda *_, **__: pytest.fail("a process was started"))
    with pytest.raises(XferError, match=rf'the report needs {library}: pip install "xfer-learn\[report\]"'):
        compare("digits")


def test_every_backend_has_its_process_one_after_the_other(monkeypatch, tmp_path):
    started = []
    monkeypatch.setattr(study, "run_worker", lambda do, config, **_: started.append((do, config)))
    monkeypatch.setattr(study, "summarise", lambda folders, out: folders)
    folders = compare("digits", backends=("keras", "torch"), out=tmp_path, epochs=2, batch_size=7)
    assert [(do, config.backend) for do, config in started] == [
        ("check", "torch"),
        ("train", "tensorflow"),
        ("train", "torch"),
    ]
    assert folders == [str(tmp_path / "tensorflow"), str(tmp_path / "torch")]
    for _, config in started:
        assert (config.epochs, config.batch_size, config.seed) == (2, 7, 0)


def test_a_failing_process_speaks_for_itself(tmp_path):
    config = RunSettings(data=str(tmp_path / "nowhere"), backend="torch", out=str(tmp_path / "run"))
    with pytest.raises(XferError, match=r"^torch: .*nowhere does not exist[^\n]*$"):
        run_worker("train", config)


def test_a_process_that_dies_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(XferError, match=r"^torch: its process ended with exit code 1"):
        run_worker("train", RunSettings(data="digits", backend="torch"))
