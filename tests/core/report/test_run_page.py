"""The page of a run: what it has in addition, and that nothing that goes wrong with it changes the run."""

import importlib.util

import pytest

import xfer
from tests.core.report.pages import Page
from xfer.report import run_page
from xfer.report.run_page import write_run_page
from xfer.specs.settings import RunSettings
from xfer.testing import NumpyBackend
from xfer.workflows.results import Result


@pytest.fixture
def result(data, tmp_path):
    """A run of a head and of fine-tuning, as `train` hands it over."""
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list("abc"), image_size=16)
    trainer = xfer.Trainer(model, progress=False, cache=False)
    trainer.fine_tune(data, head_epochs=2, epochs=1)
    evaluation = model.evaluate(data, cache=False)
    config = RunSettings(data="photos", out=str(tmp_path), lr=0.002)
    metrics = {
        "epochs": list(trainer.history),
        "config": config.document(),
        "data": {"source": "far/photos"},
        "test": {"accuracy": 0.75},
    }
    return Result(model, evaluation, metrics, tmp_path, None, data.judged)


def test_learning_curves_and_configuration(result):
    path = write_run_page(result)
    assert path == result.path / "evaluation.html"
    page = Page(path.read_text("utf-8"))
    spoken = page.values("svg", "aria-label")
    last = result.metrics["epochs"][-1]
    assert f"Loss: train ends at {last['loss']:.4f}, val ends at {last['val_loss']:.4f}" in spoken
    assert f"Accuracy: val ends at {last['val_accuracy']:.4f}" in spoken
    assert page.drawn.count("fine-tuning") == 2
    assert "lr 0.002" in page.text
    assert "Test split Metric value Accuracy 0.7500" in page.text
    assert "xfer evaluation tiny on photos" in page.text


def test_without_the_extra_one_line_says_how_to_get_it(result, monkeypatch, capsys):
    (result.path / "evaluation.html").write_text("of an earlier run")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "jinja2" else find(name, *a))
    assert write_run_page(result) is None
    line = capsys.readouterr().err
    assert line == (
        'evaluation.html was left out (the report needs jinja2: pip install "xfer-learn[report]"): '
        f"`xfer evaluate {result.path} photos --out {result.path}/evaluation` writes one\n"
    )
    assert not (result.path / "evaluation.html").exists()


def test_an_error_of_drawing_is_one_line(result, monkeypatch, capsys):
    def render(*arguments, **options):
        raise MemoryError("first line\nsecond")

    monkeypatch.setattr(run_page, "render", render)
    assert write_run_page(result) is None
    assert capsys.readouterr().err.startswith("evaluation.html was left out (first line): `xfer evaluate ")


def test_other_processes_write_nothing(result, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert write_run_page(result) is None
    assert list(result.path.iterdir()) == []


def test_no_epochs_no_curves(result):
    result.metrics["epochs"].clear()
    page = Page(write_run_page(result).read_text("utf-8"))
    assert "Learning" not in page.texts
