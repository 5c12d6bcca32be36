"""Runs that xfer 0.1 has written load, predict as they did, and are resumed to the same end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import xfer
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.workflows.config import run_settings
from xfer.workflows.results import finished
from xfer.workflows.resume import options_of

RUNS = Path(__file__).parents[1] / "fixtures" / "v0_1"
EXPECTED = json.loads((RUNS / "expected.json").read_text())


def images():
    stored = np.load(RUNS / "images.npz")
    x, y = stored["images"], stored["labels"]
    return xfer.data.arrays(x[:24], y[:24], x[24:], y[24:], classes=["a", "b", "c"])


class RunsOfVersion01:
    """Set `backend` in a subclass."""

    backend = None

    def test_a_finished_run_predicts_as_it_did(self):
        model = xfer.load(RUNS / "finished", backend=self.backend)
        probe = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
        found = model.predict_proba(probe, columns=[[1.5, "x"], [None, "y"], [3.0, None]])
        np.testing.assert_allclose(found, EXPECTED["finished"], rtol=1e-6)  # which is float32
        assert model.decision.temperature != 1
        assert len(model.decision.thresholds) == 3

    def test_what_is_written_again_is_of_the_new_format_and_the_same(self, tmp_path):
        model = xfer.load(RUNS / "finished", backend=self.backend)
        model.save(tmp_path)
        again = xfer.load(tmp_path, backend=self.backend)
        cells = [[1.5, "x"], [None, "y"], [3.0, None], [None, "never seen"]]
        np.testing.assert_array_equal(again.columns.transform(cells), model.columns.transform(cells))
        assert open_checkpoint(tmp_path).manifest.format == 3
        assert again.decision == model.decision

    def test_an_interrupted_fit_ends_as_one_that_was_not(self, tmp_path):
        shutil.copytree(RUNS / "interrupted", tmp_path / "run")
        trainer = xfer.Trainer.resume(
            tmp_path / "run", backend=self.backend, progress=False, early_stopping=4, monitor="val_accuracy"
        )
        assert trainer.settings.schedule == "cosine"
        assert trainer.settings.clip_norm == 0.5
        assert (trainer.epoch, trainer.batch) == (1, 2)
        trainer.fit(images())
        whole = np.load(RUNS / "whole.npz")
        for name, array in trainer.model.weights().items():
            np.testing.assert_allclose(array, whole[name], rtol=1e-9, atol=1e-12, err_msg=name)
        for row, expected in zip(trainer.history, EXPECTED["history"], strict=True):
            for key, value in expected.items():
                if key == "val_top5_accuracy":  # of three classes, which 0.1 did not leave out
                    continue
                assert row[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), key

    def test_the_command_finds_its_run_finished(self, tmp_path):
        shutil.copytree(RUNS / "finished", tmp_path / "run")
        options = options_of(tmp_path / "run") | {"out": str(tmp_path / "run")}
        assert finished(run_settings(options))["model"] == "tiny"
        with pytest.raises(xfer.XferError, match="holds a run with another eps"):
            finished(run_settings(options, {"eps": 1e-6}))
