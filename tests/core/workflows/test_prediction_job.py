"""`xfer predict --out`: what is in the table, what is refused, and that a table is made once."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

import xfer
from tests.core.data.odd import NAMES, posix
from tests.suites.progress import recorded
from xfer.cli.app import app
from xfer.data.sources.lists import listed
from xfer.errors import CheckpointError, UsageError
from xfer.models import predictor
from xfer.runtime import checksums
from xfer.specs.decision import Decision
from xfer.testing import NumpyBackend
from xfer.workflows.prediction import job as jobs
from xfer.workflows.prediction.job import PredictionJob, PredictionOptions
from xfer.workflows.prediction.table import Column

FORMATS = (".csv", ".jsonl", ".parquet")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Windows of two batches."""
    for module in (predictor, jobs):
        monkeypatch.setattr(module, "window", lambda classes, batch_size: 2 * batch_size)


@pytest.fixture
def photos(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for i in range(13):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)).save(folder / f"{i:02}.png")
    (folder / "05.png").write_bytes(b"")
    return folder


def write(out, model, images, **options):
    split = listed([images] if isinstance(images, Path) else images, model.column_names)
    return PredictionJob(out).run(model, split, PredictionOptions(**{"batch_size": 2, **options}))


def rows_of(path):
    """The rows of a table as another reader has them: texts, floats, None."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_table_has_the_predictions_of_predict(model, photos, tmp_path, suffix):
    """In the order of the images, as often as they are named; thresholds decide on the label."""
    model.decision = Decision(1.5)
    usual = np.nanmedian(model.predict_proba(photos, on_bad="report"), axis=0)
    model.decision = Decision(1.5, tuple((usual / usual.sum()).tolist()))
    given = [photos / "07.png", photos, photos / "07.png"]
    finished, before = write(tmp_path / f"t{suffix}", model, given, top=2, probabilities=True)
    assert (finished.images, finished.unreadable, before) == (15, 1, False)
    names = [str(photos / "07.png"), *(str(photos / f"{i:02}.png") for i in range(13)), str(photos / "07.png")]
    expected = model.predict(names, top=3, batch_size=2, on_bad="report")
    found = rows_of(tmp_path / f"t{suffix}")
    columns = ["path", "label", "probability", "label_2", "probability_2", "error"]
    assert list(found[0]) == [*columns, "probability=a", "probability=b", "probability=c"]
    assert [row["path"] for row in found] == names
    for row, prediction in zip(found, expected, strict=True):
        if prediction is None:
            assert row["error"] == "the file is empty"
            assert all(value is None for name, value in row.items() if name not in ("path", "error"))
            continue
        assert (row["error"], row["label"], row["label_2"]) == (None, prediction.label, prediction.top[1][0])
        assert np.float32(row["probability"]) == prediction.probability
        assert {name: np.float32(row[f"probability={name}"]) for name in "abc"} == dict(prediction.top)
    assert len({row["label"] for row in found if row["label"]}) > 1
    assert any(float(row["probability"]) < float(row["probability_2"]) for row in found if row["label"])
    assert {path.name for path in tmp_path.iterdir()} == {"photos", f"t{suffix}", f"t{suffix}.json"}


@posix
@pytest.mark.parametrize("suffix", FORMATS)
def test_any_name(model, tmp_path, suffix):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in NAMES:
        Image.new("RGB", (8, 8)).save(folder / name, "PNG")
    write(tmp_path / f"t{suffix}", model, folder)
    names = sorted(str(folder / name) for name in NAMES)
    if suffix == ".parquet":
        names = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    assert [row["path"] for row in rows_of(tmp_path / f"t{suffix}")] == names


def test_an_ensemble_and_several_tasks(model, photos, tmp_path):
    other = xfer.load("tiny", backend=NumpyBackend(), weights=None, seed=1, classes=model.classes, image_size=16)
    ensemble = xfer.Ensemble((model, other))
    write(tmp_path / "e.jsonl", ensemble, photos)
    expected = [p for p in ensemble.predict(photos, batch_size=2, on_bad="report") if p]
    found = [row for row in rows_of(tmp_path / "e.jsonl") if row["error"] is None]
    assert [row["label"] for row in found] == [p.label for p in expected]
    assert [np.float32(row["probability"]) for row in found] == [p.probability for p in expected]

    tasks = (
        xfer.Task("kind", classes=("a", "b")),
        xfer.Task("tags", "multi-label", classes=("x", "y", "z")),
        xfer.Task("size", "regression", classes=("size",), mean=(5.0,), std=(2.0,)),
        xfer.Task("place", "regression", classes=("lat", "lon")),
    )
    several = xfer.load("tiny", backend=NumpyBackend(), weights=None, tasks=tasks, image_size=16)
    write(tmp_path / "s.jsonl", several, photos, probabilities=True)
    outputs = several.predict_tasks(photos, batch_size=2, on_bad="report")
    for i, row in enumerate(rows_of(tmp_path / "s.jsonl")):
        values = ["kind", "kind_probability", "tags", "size", "place=lat", "place=lon"]
        assert list(row) == ["path", *values, "error", "kind=a", "kind=b", "tags=x", "tags=y", "tags=z"]
        if i == 5:
            assert row["error"] == "the file is empty"
            continue
        assert row["kind"] == "ab"[outputs["kind"][i].argmax()]
        assert row["kind_probability"] == outputs["kind"][i].max()
        assert row["tags"] == ("|".join(t for t, p in zip("xyz", outputs["tags"][i], strict=True) if p > 0.5) or "-")
        assert row["size"] == outputs["size"][i, 0]
        assert [row["place=lat"], row["place=lon"]] == outputs["place"][i].tolist()
        assert [row["tags=x"], row["tags=y"], row["tags=z"]] == outputs["tags"][i].tolist()


def test_a_finished_table_is_left_alone(model, photos, tmp_path):
    out = tmp_path / "new" / "t.csv"
    write(out, model, photos)
    before = out.stat().st_mtime_ns, out.read_bytes()
    for batch_size in (2, "auto"):
        finished, was = write(out, model, photos, batch_size=batch_size)
        assert (was, finished.images) == (True, 13)
    assert (out.stat().st_mtime_ns, out.read_bytes()) == before
    for what, options in {"top": {"top": 1}, "batch_size": {"batch_size": 4}, "tta": {"tta": "flip"}}.items():
        with pytest.raises(UsageError, match=f"holds predictions with another {what}: give the same, another --out"):
            write(out, model, photos, **options)
    with pytest.raises(UsageError, match="another images"):
        write(out, model, photos / "00.png")
    weights = model.weights()
    model.set_weights({"fc.bias": weights["fc.bias"] + 1})
    with pytest.raises(UsageError, match="another model:"):
        write(out, model, photos)
    model.set_weights(weights)
    model.decision = Decision(2.0)
    with pytest.raises(UsageError, match="another model:"):
        write(out, model, photos)
    assert {path.name for path in out.parent.iterdir()} == {"t.csv", "t.csv.json"}
    out.write_text("mine")
    model.decision = Decision()
    with pytest.raises(UsageError, match="was changed after it was written"):
        write(out, model, photos)
    out.unlink()
    assert write(out, model, photos / "00.png")[0].images == 1


def test_what_is_not_ours_stays(model, photos, tmp_path):
    out = tmp_path / "t.csv"
    out.write_text("mine")
    with pytest.raises(UsageError, match="is there, and no record of how it was made"):
        write(out, model, photos)
    assert out.read_text() == "mine"
    (tmp_path / "u.csv.parts").mkdir()
    (tmp_path / "u.csv.parts" / "mine").touch()
    write(tmp_path / "u.csv", model, photos)
    assert [path.name for path in (tmp_path / "u.csv.parts").iterdir()] == ["mine"]


class Stop(Exception):  # noqa: N818
    """In the place of a kill."""


def stopped_after(monkeypatch, parts, out, model, photos, **options):
    """A job that ends after so many parts."""
    real, written = jobs.Parts.write, []

    def write_(self, *arguments):
        if len(written) == parts:
            raise Stop
        written.append(real(self, *arguments))

    with monkeypatch.context() as patch:
        patch.setattr(jobs.Parts, "write", write_)
        with pytest.raises(Stop):
            write(out, model, photos, **options)


@pytest.mark.parametrize("suffix", FORMATS)
def test_only_what_is_missing_is_predicted(model, photos, tmp_path, monkeypatch, suffix):
    """A damaged part is missing, too."""
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"t{suffix}"
    write(whole, model, photos, batch_size=1)
    stopped_after(monkeypatch, 5, out, model, photos, batch_size=1)
    assert not out.exists()
    part = out.with_name(f"{out.name}.parts") / "00000002.part"
    content = bytearray(part.read_bytes())
    content[-2] ^= 1
    part.write_bytes(content)
    read = []
    real = type(model).predict_split
    monkeypatch.setattr(
        type(model), "predict_split", lambda self, split, **o: read.extend(split.names) or real(self, split, **o)
    )
    with recorded(monkeypatch) as seen:
        finished, _ = PredictionJob(out).run(model, listed([photos]), PredictionOptions(batch_size="auto"))
    assert read == [str(photos / f"{i:02}.png") for i in (4, 5, 10, 11, 12)]
    assert seen["predicting"].first == 8
    assert (seen["predicting"].done, seen["predicting"].total) == (13, 13)
    assert out.read_bytes() == whole.read_bytes()
    assert finished.unreadable == 1


def test_another_job_does_not_continue(model, photos, tmp_path, monkeypatch):
    out = tmp_path / "t.csv"
    stopped_after(monkeypatch, 2, out, model, photos)
    with pytest.raises(UsageError, match="interrupted predictions with another top, probabilities: give the same"):
        write(out, model, photos, top=1, probabilities=True)
    with pytest.raises(UsageError, match=r"another images: .*remove .*t\.csv\.json to begin again"):
        write(out, model, [photos, photos])
    record = out.with_name("t.csv.json")
    content = bytearray(record.read_bytes())
    content[-20] ^= 1
    record.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        write(out, model, photos)
    record.unlink()
    assert write(out, model, [photos, photos])[0].images == 26
    for options in ({"tta": "none"}, {"top": 1}):  # nothing was predicted, so nothing is in the way
        stopped_after(monkeypatch, 0, tmp_path / "u.csv", model, photos, **options)
    with pytest.raises(UsageError, match="unknown test-time augmentation"):
        write(tmp_path / "u.csv", model, photos, tta="twice")
    assert not list(tmp_path.glob("u.csv*"))


def test_a_record_and_a_part_that_lie(model, photos, tmp_path, monkeypatch):
    """With right checksums, which anyone can compute."""
    out = tmp_path / "t.parquet"
    stopped_after(monkeypatch, 3, out, model, photos)
    record = out.with_name(f"{out.name}.json")
    document = checksums.without_checksum(record.read_bytes())
    for wrong in ({"batch_size": 0}, {"batch_size": "x"}, {"job": []}, {"finished": {"images": 1}}):
        record.write_bytes(checksums.with_checksum(document | wrong))
        with pytest.raises(CheckpointError, match=r"t\.parquet\.json is damaged: (batch_size|job|finished)"):
            write(out, model, photos, batch_size="auto")
    record.write_bytes(checksums.with_checksum(document))
    for content in (b"no arrow", jobs.format_of(out).part({"path": Column("text", ["x"])})):
        with jobs.Parts(out.with_name(f"{out.name}.parts")) as parts:
            parts.write(1, content, 0)
        with pytest.raises(CheckpointError, match=r"00000001\.part (is damaged|has other columns)"):
            write(out, model, photos)
    (out.with_name(f"{out.name}.parts") / "00000001.part").unlink()
    assert write(out, model, photos)[0].images == 13


def test_one_process_at_a_time(model, photos, tmp_path):
    from filelock import FileLock

    parts = tmp_path / "t.csv.parts"
    parts.mkdir()
    with FileLock(parts / ".lock"), pytest.raises(CheckpointError, match="another process is writing into"):
        write(tmp_path / "t.csv", model, photos)


@pytest.mark.parametrize(
    ("out", "message"),
    [("t.xlsx", r"ends with \.csv, \.jsonl, \.parquet"), ("photos/.csv", "is no table"), ("d.csv", "is a folder")],
)
def test_refused_before_the_model_is_loaded(photos, tmp_path, out, message):
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(UsageError, match=message):
        PredictionJob(tmp_path / out)


def test_refused_without_pyarrow_and_in_several_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="is written by one process"):
        PredictionJob(tmp_path / "t.csv")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r'pip install "xfer-learn\[parquet\]"'):
        PredictionJob(tmp_path / "t.parquet")


def test_the_command(model, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("run")
    (tmp_path / "list.txt").write_text("photos/00.png\nphotos/gone.png\n")

    def run(*arguments):
        return CliRunner().invoke(app, ["predict", "run", *arguments, "--backend", "xfer.testing:NumpyBackend"])

    shown = run("list.txt", "--top", "1")
    assert (shown.exit_code, shown.stdout.count("\n")) == (1, 1)
    assert "cannot read photos/gone.png: there is no such file" in shown.stderr
    shown = run("list.txt", "photos", "--out", "t.csv", "--batch-size", "4", "--json")
    assert json.loads(shown.stdout) == {"out": "t.csv", "images": 15, "unreadable": 2}
    again = run("list.txt", "photos", "--out", "t.csv", "--batch-size", "4")
    assert again.exit_code == 0
    assert "t.csv is finished" in again.stderr
    assert again.stdout.splitlines()[1] == "2 images cannot be read; the column 'error' says why"
    for arguments, message in {
        ("photos", "--probabilities"): "give --out",
        ("photos", "--batch-size", "0"): "give a number of images, 1 or more, or auto",
        ("photos", "--out", "t.csv", "--batch-size", "auto"): "t.csv holds predictions with another images:",
    }.items():
        refused = run(*arguments)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert message in refused.stderr
