"""Parts of the cache that different processes fill, and what decides cached features."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock
from typer.testing import CliRunner

import xfer
from tests.core.features.caching import build, plan
from xfer.cli.app import app
from xfer.errors import DataError, UsageError
from xfer.features.cache import CacheUse, FeatureCache
from xfer.models.network import Network
from xfer.models.spec import ModelSpec
from xfer.testing import NumpyBackend


@pytest.mark.parametrize("count", [1, 3])
def test_shards_need_nothing_from_each_other(data, tmp_path, count):
    """Every part on its own cache, as on machines that share nothing; the files are copied together and found."""
    model, whole = plan(build(), 0), tmp_path / "whole"
    made = 0
    for i in range(count):
        apart = FeatureCache(tmp_path / f"machine{i}")
        used = apart.fill(model, data, shard=f"{i}/{count}", batch_size=8, workers=0)
        again = apart.fill(model, backwards(data), shard=f"{i}/{count}", batch_size=8, workers=0)
        assert (used.there, again.computed) == (0, 0), "the division does not depend on the order of the images"
        assert again.there == used.computed
        made += used.computed
        (whole / used.folder.name).mkdir(parents=True, exist_ok=True)
        for path in used.folder.glob("*.rows"):
            shutil.copy(path, whole / used.folder.name)
    assert made == 75
    trainer = xfer.Trainer(plan(build(), 0), cache=whole, progress=False)
    trainer.fit(data, 2)
    assert trainer.cached == CacheUse(75, 0, 16 * 8)


def backwards(data):
    return replace(data, train=data.train.subset(np.arange(len(data.train))[::-1]))


def test_a_shard_does_not_wait_for_another(data, tmp_path):
    """While one part is locked as by a process that hangs, the other is made, and what is made is found."""
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    first = cache.fill(model, data, shard="0/2", workers=0)
    with FileLock(first.folder / "0-of-2.lock"):
        second = cache.fill(model, data, shard="1/2", workers=0)
        assert first.computed + second.computed == 75
        _, used = cache.data(model, data, "features", 8, 0)
        assert used == CacheUse(75, 0, 16 * 8)


def test_the_unreadable_belong_to_one_shard(data, tmp_path):
    images = [data.train.images[i] for i in range(60)]
    images[7] = b"nothing"
    broken = replace(data, train=xfer.data.Split(images, data.train.labels, data.train.names, data.classes))
    used = [FeatureCache(tmp_path).fill(plan(build(), 0), broken, shard=f"{i}/4", workers=0) for i in range(4)]
    assert sorted(each.unreadable for each in used) == [0, 0, 0, 1]
    assert sum(each.computed for each in used) == 74


def test_rows_do_not_depend_on_the_head(data, tmp_path):
    cache, model = FeatureCache(tmp_path), build()
    cache.fill(model, data, workers=0)
    model.replace_head(["x", "y"])
    assert cache.fill(model, data, workers=0).computed == 0


def test_rows_do_not_depend_on_auxiliary_classifiers():
    """They lie in a frozen block, have the width of the head, and nothing after them reads what they make."""
    card, keys = xfer.zoo.card("googlenet"), set()
    for classes in (2, 3):
        shapes = {"conv1.conv.weight": (2, 2), "aux1.fc2.weight": (classes, 2), "fc.weight": (classes, 2)}
        model = SimpleNamespace(
            card=card,
            name=card.name,
            backend=NumpyBackend(),
            spec=ModelSpec(card, xfer.Head(), tuple("abc"[:classes]), card.preprocessing),
            shapes=lambda shapes=shapes: shapes,
            read=lambda names, shapes=shapes: {name: np.zeros(shapes[name]) for name in names},
            stages_after=lambda after: (*card.block_names[:-1], "features", "head"),
        )
        keys.add(Network.fingerprint(model, "features"))
    assert len(keys) == 1


def test_only_pictures_are_passed(data, tmp_path):
    with pytest.raises(DataError, match="is outputs of 'features' already: give pictures"):
        FeatureCache(tmp_path).fill(build(), xfer.extract(build(), data, cache=False))


@pytest.mark.parametrize("shard", ["4/4", "-1/4", "0/0", "1", "a/b", "1/2/3", ""])
def test_no_such_shard(data, tmp_path, shard):
    with pytest.raises(UsageError, match="give i/n with 0 <= i < n"):
        FeatureCache(tmp_path).fill(build(), data, shard=shard)


def test_the_command_fills_what_training_reads(tmp_path, monkeypatch):
    monkeypatch.setattr("xfer.models.factory.any_backend", lambda name: NumpyBackend())
    monkeypatch.setenv("XFER_FEATURES", str(tmp_path / "rows"))
    options = ["--model", "tiny", "--weights", "none", "--image-size", "16", "--limit", "40"]
    runner, made = CliRunner(), 0
    for i in range(2):
        result = runner.invoke(app, ["features", "digits", *options, "--shard", f"{i}/2", "--json"])
        assert result.exit_code == 0, result.stderr
        said = json.loads(result.stdout)
        made += said["made"]
        assert (said["found"], said["unreadable"], said["bytes"]) == (0, 0, said["made"] * 16 * 4)
    assert made == 80
    said = runner.invoke(app, ["features", "digits", *options]).stdout
    assert re.search(r"found +\S 80 images", said)
    assert f"folder: {tmp_path / 'rows'}" in said
    result = runner.invoke(app, ["train", "digits", *options, "--epochs", "2", "--out", str(tmp_path / "run")])
    assert "0 images computed, 80 read from the cache" in result.stderr
    for wrong, message in ((["--shard", "2/2"], "give i/n"), (["--after", "layer9"], "unknown block 'layer9'")):
        result = runner.invoke(app, ["features", "digits", *options, *wrong])
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
