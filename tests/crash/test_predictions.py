"""A table of predictions whose job is killed and started again is byte by byte that of a job that never was.

Short here; `make test-all` kills the job once at every point where a file is touched.
"""

import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import xfer
from tests.crash.test_kills import NUMPY, Server
from xfer.testing import NumpyBackend

FORMATS = ("csv", "jsonl", "parquet")


class Predictions:
    """Jobs over 20 images, one of them unreadable, in parts of 4."""

    def __init__(self, folder):
        rng, images = np.random.default_rng(0), folder / "images"
        images.mkdir()
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(images / f"{i}.png")
        (images / "7.png").write_bytes(b"no picture")
        model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
        self.job = {"predict": [str(model.save(folder / "run")), str(images)], "backend": NUMPY}
        self.server, self.folder, self.number = Server(NUMPY, None, folder), folder, 0
        self.whole = {}
        for suffix in FORMATS:
            where = self.new()
            code, text = self.run(where, suffix)
            assert code == 0, text
            self.whole[suffix] = (where / f"t.{suffix}").read_bytes(), int(text.split("points ")[1].split()[0])

    def new(self):
        self.number += 1
        found = self.folder / str(self.number)
        found.mkdir()
        return found

    def run(self, where, suffix, fault=None):
        options = {"out": str(where / f"t.{suffix}"), "batch_size": 2, "probabilities": True}
        return self.server.work(where, {**self.job, "options": options}, fault)

    def check(self, suffix, faults):
        """Killed at these points, one after the other, then left alone."""
        where = self.new()
        for fault in faults:
            code, _ = self.run(where, suffix, fault)
            table = where / f"t.{suffix}"
            assert not table.exists() or table.read_bytes() == self.whole[suffix][0]
            if code == 0:  # so many points were not left
                break
        code, text = self.run(where, suffix)
        assert code == 0, text
        assert (where / f"t.{suffix}").read_bytes() == self.whole[suffix][0]
        assert {path.name for path in where.iterdir()} == {f"t.{suffix}", f"t.{suffix}.json", "log"}


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    found = Predictions(tmp_path_factory.mktemp("predictions"))
    yield found
    found.server.close()


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(FORMATS), shares=st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_killed_several_times(predictions, suffix, shares):
    points = predictions.whole[suffix][1]
    predictions.check(suffix, [1 + int(share * (points - 1)) for share in shares])


@pytest.mark.parametrize("last", [2, 9, 16])
def test_killed_while_it_finishes(predictions, last):
    """At the end the parts are joined, the table takes its name, the record changes, and the parts go."""
    predictions.check("csv", [predictions.whole["csv"][1] - last])


@pytest.mark.long
@pytest.mark.parametrize("suffix", FORMATS)
def test_killed_at_every_point(predictions, suffix):
    for fault in range(1, predictions.whole[suffix][1] + 1):
        predictions.check(suffix, [fault])


def test_a_job_that_is_killed_is_killed(predictions):
    where = predictions.new()
    assert predictions.run(where, "csv", 40)[0] == -signal.SIGKILL
    assert not (where / "t.csv").exists()
    assert any((where / "t.csv.parts").glob("0*.part"))
