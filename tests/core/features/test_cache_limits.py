"""The cache under a kill, on a small disk, and where it does not apply."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

import xfer
from tests.core.features.caching import KILLED, build, plan, rows_in
from xfer.features import compute
from xfer.features.boundary import boundary
from xfer.features.cache import FeatureCache
from xfer.features.store import Writer


@pytest.mark.long
def test_a_kill_in_the_middle_leaves_a_cache_that_serves(tmp_path):
    command = [sys.executable, "-c", "import xfer.features.compute\n" + KILLED]
    process = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.PIPE, text=True)
    for _ in range(4):
        process.stdout.readline()
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    outcome = {}
    for name in ("killed", "whole"):
        result = subprocess.run([*command, tmp_path / name], capture_output=True, text=True, check=True)
        outcome[name] = result.stdout.split("\n")[-2].split()
    assert float(outcome["killed"][0]) == pytest.approx(float(outcome["whole"][0]), rel=1e-12)
    assert int(outcome["killed"][1]) >= 24
    assert int(outcome["whole"][1]) == 0


@pytest.mark.parametrize(("limit", "value"), [("_FLUSH", 1), ("_SECONDS", 0.0), ("_FLUSH", 10**9)])
def test_rows_are_written_on_the_way(data, tmp_path, monkeypatch, limit, value):
    """By size or by time, so that a kill costs little."""
    monkeypatch.setattr(compute, limit, value)
    appended, append = [], Writer.append
    monkeypatch.setattr(Writer, "append", lambda *given: (appended.append(len(given[1])), append(*given)))
    FeatureCache(tmp_path).fill(build(), replace(data, val=None), batch_size=20, workers=0)
    assert appended == ([60] if value == 10**9 else [20, 20, 20])


def test_what_does_not_fit_is_not_kept(data, tmp_path, capsys):
    model = plan(build(), 0)
    trainer = xfer.Trainer(model, lr=0.02, cache=FeatureCache(tmp_path, budget=1000), progress=False)
    rows = trainer.fit(data, 2)
    assert trainer.cached is None
    assert len(rows) == 2
    assert "features cannot be cached and are computed in every epoch" in capsys.readouterr().err
    assert rows_in(tmp_path) == 0


@pytest.mark.parametrize("after", ["stem", "layer1", "features"])
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_an_estimate_is_the_size_of_the_outputs(after, precision):
    model = build(precision)
    expected = model.stage(np.zeros((3, 16, 16, 3), np.uint8), after).nbytes
    assert FeatureCache().estimate(model, after, 3) == expected


def test_the_oldest_goes_first(data, tmp_path):
    cache = FeatureCache(tmp_path, budget=2 * (256 + 75 * (16 * 8 + 64)))
    for seed in range(3):
        cache.data(plan(build(seed=seed), 0), data, "features", 32, 0)
        folders = [path for path in tmp_path.iterdir() if path.is_dir()]
        for path in folders:
            os.utime(path, (seed, seed)) if path.stat().st_mtime > 100 else None
    assert len(folders) == 2


def test_rows_of_other_images_go_where_one_network_fills_the_budget(data, tmp_path):
    """What belongs to this data set stays, also what other shards of it have made."""
    cache, model = FeatureCache(tmp_path, budget=256 * 4 + 75 * (16 * 8 + 64)), plan(build(), 0)
    other = xfer.data.arrays(255 - np.array(data.train.images), np.arange(60) % 3, val=0)
    cache.fill(model, other, workers=0)
    first = cache.fill(model, data, shard="0/2", workers=0)
    assert rows_in(tmp_path) == first.computed, "60 rows and what is to come are too many"
    assert cache.fill(model, data, shard="1/2", workers=0).computed == 75 - first.computed
    assert cache.fill(model, data, workers=0).there == 75
    with pytest.raises(OSError, match="do not fit"):
        FeatureCache(tmp_path, budget=60 * (16 * 8 + 64)).fill(plan(build(seed=5), 0), data, workers=0)
    assert rows_in(tmp_path) == 75, "what cannot fit drives nothing out"


def test_when_it_stays_out_of_the_way(data, tmp_path):
    """Of validation, whose images never change, rows are kept all the same."""
    for options, epochs, unfrozen, expected in (
        ({"augment": "flip"}, 2, 0, 15),
        ({"augment_minority": "flip"}, 2, 0, 15),
        ({"mix": "mixup"}, 2, 0, 15),
        ({}, 1, 0, 15),
        ({"on_bad": "impute"}, 2, 0, None),
        ({}, 2, 9, None),
    ):
        model = build()
        plan(model, 0) if unfrozen == 0 else model.unfreeze()
        trainer = xfer.Trainer(model, cache=tmp_path, progress=False, **options)
        trainer.fit(data, epochs)
        used = trainer.cached
        assert (None if used is None else used.there + used.computed) == expected, options
    assert boundary(build()) is None
    assert boundary(plan(build(), 0)) == "features"
    assert boundary(plan(build(), 1)) == "stem"
