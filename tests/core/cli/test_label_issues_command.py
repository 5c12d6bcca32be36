"""`xfer inspect --with` and `--corrections`, in every entrance, on the NumPy backend."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xfer.cli.app import app
from xfer.errors import DataError, UsageError
from xfer.workflows.config import read_toml, run_settings
from xfer.workflows.judged import judged_data
from xfer.workflows.results import finished
from xfer.workflows.resume import check_data, fingerprints
from xfer.workflows.run import train
from xfer.workflows.setup import read_data


@pytest.fixture
def photos(tmp_path):
    """Twelve images of each of two classes that differ in colour, two of them in the wrong folder."""
    rng = np.random.default_rng(0)
    for colour, label in enumerate(("ant", "bee")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 100, (20, 20, 3))
            pixels[..., (colour + (i == 3)) % 2] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / label / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def inspect(model, photos, monkeypatch):
    monkeypatch.setattr("xfer.evaluation.label_issues.load_model", lambda *arguments, **options: model)

    def run(*options):
        return CliRunner().invoke(app, ["inspect", str(photos), *map(str, options)])

    return run


def written(path, text):
    path.write_text(text)
    return path


def test_json_adds_to_what_there_was(inspect):
    plain = json.loads(inspect("--json").stdout)
    found = json.loads(inspect("--with", "tiny", "--json").stdout)
    assert {name: found[name] for name in plain} == plain
    assert found.keys() - plain.keys() == {"label_errors", "near_duplicates", "outliers", "quality", "judged"}
    assert {row["image"]: row["suggested"] for row in found["label_errors"][:2]} == {
        "ant/3.png": "bee",
        "bee/3.png": "ant",
    }


def test_the_folder_and_the_screen(inspect, tmp_path):
    done = inspect("--with", "tiny", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "ant/3.png" in done.stdout
    assert "labels suspected" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "inspect.html",
        "labels.html",
        "suspects.csv",
    ]
    fix = written(tmp_path / "fix.csv", "image,label\nant/3.png,bee\nbee/3.png,ant\n")
    again = json.loads(inspect("--with", "tiny", "--corrections", fix, "--json").stdout)
    assert again["splits"]["train"]["listed"] + again["splits"]["val"]["listed"] == 24
    assert not {"ant/3.png", "bee/3.png"} & {row["image"] for row in again["label_errors"]}


def test_what_is_refused_in_one_line(inspect, tmp_path):
    for options, said in (
        (("--with", "tiny", "--isolate"), "--isolate reads images in other processes"),
        (("--corrections", tmp_path / "none.csv"), "is no file of corrections"),
        (("--corrections", written(tmp_path / "fix.csv", "image,label\nx.png,ant\n")), "'x.png' is no image of"),
    ):
        done = inspect(*options)
        assert done.exit_code in (1, 2)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_settings_and_toml_read_them(photos, tmp_path):
    fix = written(tmp_path / "fix.csv", "image,label\nant/3.png,bee\nbee/3.png,\n")
    toml = written(tmp_path / "xfer.toml", f'data = "{photos}"\ncorrections = "{fix}"\n')
    data = read_data(run_settings(read_toml(toml)))
    assert {(each.image, each.label) for each in data.corrections} == {("ant/3.png", "bee"), ("bee/3.png", None)}
    limited = read_data(run_settings(read_toml(toml), {"limit": 4}))
    assert len(limited.train) <= 4
    with pytest.raises(DataError, match="'x' is no image"):
        read_data(run_settings(read_toml(toml), {"limit": 4, "corrections": str(written(fix, "image,label\nx,\n"))}))


def test_an_interrupted_run_is_compared_by_what_corrections_change(photos, tmp_path):
    def data(text):
        fix = None if text is None else str(written(tmp_path / "fix.csv", "image,label\n" + text))
        return read_data(run_settings({"data": str(photos), "corrections": fix}))

    found = SimpleNamespace(path=tmp_path, extra=lambda: {"data": fingerprints(data("ant/3.png,bee\n"))})
    check_data(data("bee/1.png,bee\nant/3.png,bee\n"), found)
    for text in (None, "ant/3.png,\n", "ant/3.png,bee\nbee/3.png,ant\n"):
        with pytest.raises(
            DataError, match="has changed since the run was interrupted, or the corrections of its labels"
        ):
            check_data(data(text), found)


def test_a_run_with_corrections(photos, tmp_path, monkeypatch):
    """What it is trained on, what it is compared by when it is resumed, and what it is judged on."""
    from xfer.models import backend
    from xfer.testing import NumpyBackend

    monkeypatch.setattr(backend, "get_backend", lambda name: NumpyBackend())
    monkeypatch.setattr("xfer.models.factory.any_backend", lambda *given: NumpyBackend())
    fix = written(tmp_path / "fix.csv", "image,label\nant/3.png,bee\nbee/3.png,ant\nbee/5.png,\n")
    options = {
        **{"data": str(photos), "model": "tiny", "weights": "none", "image_size": 16, "epochs": 1, "lr": 0.05},
        **{"corrections": str(fix), "out": str(tmp_path / "run"), "batch_size": 8},
    }
    metrics = train(run_settings(options), progress=False).metrics
    assert sorted(metrics["data"]["corrections"]) == [
        ["ant/3.png", "bee", ""],
        ["bee/3.png", "ant", ""],
        ["bee/5.png", None, ""],
    ]
    assert metrics["data"]["train"] + metrics["data"]["val"] == 23
    # Compared by what they change, not by the name of the file or by lines that change nothing.
    assert finished(run_settings(options)) is not None
    other = written(tmp_path / "same.csv", "image,label\nbee/5.png,\nbee/3.png,ant\nant/3.png,bee\nant/4.png,ant\n")
    assert finished(run_settings(options, {"corrections": str(other)})) is not None
    for changed in (None, written(tmp_path / "other.csv", "image,label\nant/4.png,bee\n")):
        given = {name: value for name, value in options.items() if name != "corrections"}
        with pytest.raises(UsageError, match="holds a run with other corrections of labels"):
            finished(run_settings(given, {"corrections": changed and str(changed)}))
    # The share that was held out is known again without the file, and judged by the corrected labels.
    plain = run_settings({"data": str(photos)})
    fix.unlink()
    judged, which = judged_data(plain, tmp_path / "run", None)
    assert which == "val, held out of the images that the run was trained on, labels corrected"
    held = set(read_data(plain).val.names)
    assert set(judged.train.names) == held - {"bee/5.png"}
    labels = {n: judged.classes[i] for n, i in zip(judged.train.names, judged.train.labels, strict=True)}
    expected = {"ant/3.png": "bee", "bee/3.png": "ant"}
    assert all(label == expected.get(name, name.split("/")[0]) for name, label in labels.items())
    assert finished(run_settings(options)) is not None  # the file is gone: it is taken for the run's own
    judged, _ = judged_data(run_settings({"data": str(photos), "corrections": str(other)}), tmp_path / "run", None)
    assert set(judged.train.names) == held - {"bee/5.png"}
