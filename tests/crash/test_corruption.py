"""Thousands of damaged bytes in everything that xfer reads back: each is refused or computed anew, none is believed.

python -m pytest tests/crash/test_corruption.py -m "" -s      shows the figures of all 10,000
"""

import collections
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

import xfer
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.errors import CheckpointError
from xfer.features import store
from xfer.features.cache import FeatureCache
from xfer.features.keys import digests_of
from xfer.models import precision
from xfer.testing import NumpyBackend
from xfer.workflows.ensemble import Ensemble, Member

COUNTS = [500, pytest.param(10_000, marks=pytest.mark.long)]


def build(**options):
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list("abc"), image_size=16, **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 images with a number and a category beside each."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")
    lines = ["image,label,size,kind"]
    for i in range(60):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{'abc'[i % 3]},{i},{'xy'[i % 2]}")
    (folder / "table.csv").write_text("\n".join(lines))
    return xfer.data.manifest(folder / "table.csv", columns=["size", "kind"])


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    """A run with an optimizer and columns, one with an estimator, an ensemble, and a space of the cache."""
    root = tmp_path_factory.mktemp("kept")
    trainer = xfer.Trainer(build(columns=xfer.Columns.fit(data)), progress=False, cache=False)
    trainer.fit(data, 1)
    trainer.save(root / "run")
    fitted = xfer.Trainer(build(head=xfer.Head.sklearn(LogisticRegression())), progress=False, cache=False)
    fitted.fit(data)
    fitted.save(root / "estimator")
    model = build()
    heads = [{n: a + i for n, a in model.weights().items() if n.startswith("fc")} for i in range(2)]
    Ensemble(tuple(Member(model, head) for head in heads)).save(root / "ensemble")
    FeatureCache(root / "cache").data(model, data, "features", 8, 0, names=("train",))
    return root


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """The bytes with one bit flipped, one byte changed, or the end cut off."""
    kind, at = ("bit", "byte", "cut")[rng.choice(3, p=(0.45, 0.45, 0.1))], int(rng.integers(len(content)))
    if kind == "cut":
        return kind, content[:at]
    mask = 1 << int(rng.integers(8)) if kind == "bit" else int(rng.integers(1, 256))
    return kind, content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def use(folder: Path) -> None:
    """Read everything that a run or an ensemble holds."""
    if (folder / "ensemble.json").exists():
        xfer.workflows.ensemble_files.read_ensemble(folder)
        for run in folder.glob("member-*"):
            use(run)
        for entry in xfer.workflows.ensemble_files.read_ensemble(folder).members:
            xfer.checkpoints.stored.read_tensors(folder, entry.head)
        return
    run = open_checkpoint(folder)
    for part in (run.weights, run.optimizer_state, run.columns, run.estimator, run.progress):
        part()


@pytest.mark.parametrize("count", COUNTS)
def test_every_damage_to_a_run_is_refused(saved, tmp_path, count):
    rng, seen = np.random.default_rng(1), collections.Counter()
    shutil.copytree(saved, tmp_path / "kept")
    folders = [tmp_path / "kept" / name for name in ("run", "estimator", "ensemble")]
    reports = {"history.json", "history.csv", "metrics.json"}  # written for people; a run is read without them
    files = [
        (folder, path) for folder in folders for path in sorted(folder.rglob("[!.]*.*")) if path.name not in reports
    ]
    kinds = {path.name.partition("-")[0] for _, path in files}
    assert kinds >= {"manifest.json", "ensemble.json", "model", "optimizer", "columns", "estimator", "head", "progress"}
    for folder in folders:
        use(folder)
    for number in range(count):
        folder, path = files[number % len(files)]
        content = path.read_bytes()
        kind, bad = damaged(content, rng)
        path.write_bytes(bad)
        try:
            with pytest.raises(CheckpointError) as caught:
                use(folder)
            assert "\n" not in str(caught.value)
            if number % 50 == 0 and folder.name != "ensemble" and not path.name.startswith(("optimizer", "progress")):
                with pytest.raises(CheckpointError):
                    xfer.load(folder, backend=NumpyBackend())
        finally:
            path.write_bytes(content)
        seen[f"{path.name.partition('-')[0]}, {kind}"] += 1
    for folder in folders:
        use(folder)
    print(f"\n{count:,} damages to {len(files)} files of runs, all refused:", dict(sorted(seen.items())))


@pytest.mark.parametrize("count", COUNTS)
def test_rows_of_the_cache_are_whole_or_not_there(saved, data, tmp_path, count):
    rng, seen = np.random.default_rng(2), collections.Counter()
    space = tmp_path / "space"
    shutil.copytree(saved / "cache" / build().fingerprint("features"), space)
    (path,) = space.glob("*.rows")
    wanted, content = set(digests_of(data.train, 0)), path.read_bytes()

    def rows() -> dict[bytes, bytes]:
        found = store.find(space, wanted)
        return {digest: found.stores[store][row].tobytes() for digest, (store, row) in found.places.items()}

    whole = rows()
    assert whole.keys() == wanted
    for _ in range(count):
        kind, bad = damaged(content, rng)
        _replace(path, bad)
        left = rows()
        assert left.items() < whole.items()  # fewer, and those that are there as they were
        assert kind == "cut" or len(left) in (0, len(whole) - 1)  # the header is everyone's
        seen[kind] += 1
    _replace(path, content)
    assert rows() == whole
    print(f"\n{count:,} damages to {len(whole)} rows, all seen:", dict(sorted(seen.items())))


def _replace(path: Path, content: bytes) -> None:
    """By another file of the name, for the old one is mapped into memory."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    other.replace(path)


def test_features_over_a_damaged_cache_are_those_without(saved, data, tmp_path):
    model, rng = build(), np.random.default_rng(3)
    shutil.copytree(saved / "cache", tmp_path / "cache")
    (path,) = tmp_path.rglob("*.rows")
    expected = model.features(data.train)
    for _ in range(5):
        _replace(path, damaged(path.read_bytes(), rng)[1])
        got, used = FeatureCache(tmp_path / "cache").data(model, data, "features", 8, 0, names=("train",))
        rows = [got.train.images[i] for i in range(len(data.train))]
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-6)  # batches of other sizes sum in other orders
        assert used.computed > 0
        shutil.rmtree(path.parent)
        shutil.copytree(saved / "cache" / path.parent.name, path.parent)


def test_a_damaged_verdict_on_precision_is_taken_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("XFER_FEATURES", str(tmp_path))
    monkeypatch.setattr(precision, "_agree", lambda name, features: False)
    model, images, rng = build(), np.zeros((4, 16, 16, 3), np.uint8), np.random.default_rng(4)
    given = []
    monkeypatch.setattr(model, "set_precision", given.append)
    model.undecided = True
    model.resolve_precision(images)
    (path,) = tmp_path.glob("*.precision")
    assert path.read_bytes() == b"fp32"
    path.write_bytes(b"bf16")  # whole: believed without another look
    model.undecided = True
    model.resolve_precision(images)
    assert given == ["fp32", "bf16"]
    for _ in range(200):
        path.write_bytes(damaged(b"bf16", rng)[1])
        model.undecided = True
        model.resolve_precision(images)
        assert (given[-1], path.read_bytes()) == ("fp32", b"fp32")


def test_a_folder_or_a_pipe_in_the_place_of_a_file(saved, tmp_path):
    shutil.copytree(saved / "run", tmp_path / "run")
    for name in ("manifest.json", open_checkpoint(tmp_path / "run").manifest.tensors.name):
        path = tmp_path / "run" / name
        content = path.read_bytes()
        for make in (os.mkdir, os.mkfifo):
            path.unlink()
            make(path)
            with pytest.raises(CheckpointError):
                use(tmp_path / "run")
            path.rmdir() if path.is_dir() else path.unlink()
            path.write_bytes(content)
    use(tmp_path / "run")
