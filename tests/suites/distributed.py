"""Two processes train what one trains; when one is killed the other ends, and the run goes on from its checkpoint."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.suites.processes import forking
from xfer.checkpoints.checkpoint import open_checkpoint
from xfer.checkpoints.rotation import checkpoints_in
from xfer.errors import DataError
from xfer.specs.settings import RunSettings
from xfer.workflows.run import train

SAME = ["head", "tune", "norm", "mixed", "several", "adapters"]
SAME_LONG = ["branches", "estimator", "whole", "map_norm", "wrapped_norm"]
UNREADABLE = ["train/b/3.png", "train/c/1.png"]
CLOSE = {"rel": 1e-9, "abs": 1e-12}


class Processes:
    """Set `backend`. A run in several processes is started by `together`."""

    backend = ""

    def one(self, folder, *jobs):
        """Run jobs in one process; the exit code, and all that was printed."""
        return self._forked(folder, "tests.suites.distributed_job:main", *self._arguments(folder, jobs))

    def together(self, folder, *jobs):
        """Run jobs in two processes."""
        job = "tests.suites.distributed_job:main"
        return self._forked(folder, "tests.suites.launch:fork", 2, job, *self._arguments(folder, jobs))

    def _arguments(self, folder, jobs):
        return [self.backend, ",".join(jobs), str(folder.parent / "photos"), str(folder)]

    def _forked(self, folder, call, *arguments):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "XFER_FEATURES": str(folder / "features")}
        done = forking(self.backend).run(call, *arguments, cwd=folder, env=environment)
        return done.returncode, done.stdout + done.stderr

    def _same(self, place, jobs, *more):
        """The same jobs in one process and in two, which do `more` besides."""
        code, log = self.one(place / "one", *jobs)
        assert code == 0, log
        code, log = self.together(place / "two", *jobs, *more)
        assert code == 0, log
        return place

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory):
        """Folders for runs, beside photos of which three cannot be read."""
        root, rng = tmp_path_factory.mktemp("distributed"), np.random.default_rng(0)
        for split, number in (("train", 6), ("val", 5)):
            for k, name in enumerate("abc"):
                folder = root / "photos" / split / name
                folder.mkdir(parents=True)
                for i in range(number):
                    pixels = rng.integers(0, 120, (40, 48, 3)) + 100 * (np.arange(3) == k)
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
        for name in [*UNREADABLE, "val/a/2.png"]:
            (root / "photos" / name).write_bytes(b"no image")
        for name in ("one", "two", "killed", "busy"):
            (root / name).mkdir()
        return root

    def check_same(self, runs, name):
        """Losses, metrics, images, early stops and final weights; so does the second process as the first."""
        one = seen(runs / "one", name, size=1)
        first, second = seen(runs / "two", name), seen(runs / "two", name, rank=1)
        assert_same(first, one)
        assert first["skipped"] == one["skipped"]
        assert [image for image, _ in first["skipped"]] == UNREADABLE
        assert second["digest"] == first["digest"]
        assert_same(second, first)
        assert second["skipped"] == first["skipped"]
        assert len({row["loss"] for row in one["rows"]}) == len(one["rows"]), "nothing was trained"


class InShort(Processes):
    """What `make test` runs where a backend takes long to compile; `make test-all` runs `DistributedSuite`."""

    jobs = ("head", "norm")

    def test_two_processes_train_what_one_trains(self, place):
        self._same(place, self.jobs)
        for name in self.jobs:
            self.check_same(place, name)


class DistributedSuite(Processes):
    """Everything that several processes do."""

    @pytest.fixture(scope="class")
    def runs(self, place):
        return self._same(place, SAME, "undisturbed", "stopped", "refusals", "bad_numbers")

    @pytest.fixture(scope="class")
    def long_runs(self, place):
        return self._same(place, SAME_LONG)

    @pytest.mark.parametrize("name", SAME)
    def test_two_processes_train_what_one_trains(self, runs, name):
        self.check_same(runs, name)

    @pytest.mark.long
    @pytest.mark.parametrize("name", SAME_LONG)
    def test_two_processes_train_what_one_trains_long(self, long_runs, name):
        self.check_same(long_runs, name)

    def test_features_were_cached_and_evaluation_is_of_all_images(self, runs):
        one, two = seen(runs / "one", "head", size=1), seen(runs / "two", "head")
        assert one["cached"]
        assert two["cached"]
        assert two["names"] == one["names"]
        assert two["unreadable"] == one["unreadable"] == ["val/a/2.png"]
        assert two["metrics"] == pytest.approx(one["metrics"], **CLOSE)

    def test_each_process_reads_its_share(self, runs):
        """Of 18 images in batches of 8, two unreadable: shares are uneven, one is empty, and one batch is left out."""
        one = seen(runs / "one", "tune", size=1)
        both = [seen(runs / "two", "tune", rank=rank) for rank in (0, 1)]
        assert [mine for mine, _ in one["shards"]] == [of for _, of in one["shards"]]
        assert [len(each["shards"]) for each in (one, *both)] == [8, 8, 8]
        for alone, first, second in zip(one["shards"], *(each["shards"] for each in both), strict=True):
            assert first[1] == second[1] == alone[1] == first[0] + second[0]
            assert max(first[0], second[0]) <= 4
        assert 0 in {mine for each in both for mine, _ in each["shards"]}

    def test_the_first_process_alone_writes(self, runs):
        assert (runs / "one" / "tuned-1-of-0" / "history.json").exists()
        assert (runs / "two" / "tuned-2-of-0" / "history.json").exists()
        assert not (runs / "two" / "tuned-2-of-1").exists()

    def test_what_would_differ_is_refused_in_one_line(self, runs):
        first, second = (seen(runs / "two", "refusals", rank=rank) for rank in (0, 1))
        assert "batch normalisation 'bn' is trained, and each of 2 processes sees its share" in first["norm"]
        assert "call model.freezer.freeze_norm()" in first["norm"]
        assert "processes 0 and 1 have different options of training" in first["options"]
        assert "processes 0 and 1 have different weights" in first["weights"]
        assert "process 0 is at 'save', process 1 at 'beginning of a fit'" in first["parted"]
        assert first.keys() == second.keys()
        assert not any("\n" in text for text in first.values())

    def test_bad_numbers_of_one_process_stop_both_alike(self, runs):
        first, second = (seen(runs / "two", "bad_numbers", rank=rank) for rank in (0, 1))
        assert first == second
        assert first["kind"] == "TrainingError"
        assert re.fullmatch(
            r"bad numbers in epoch 1, batch \d: outputs of 'features', which were given, are not finite "
            r"in 1 of \d samples: train/\S+\.png; the update was not made; mend or remove them",
            first["error"],
        )

    @pytest.mark.parametrize(("name", "number", "at"), [("term", 15, [1, 1]), ("int", 2, [1, 3]), ("both", 15, [0, 2])])
    def test_a_signal_to_one_process_saves_and_ends_all_at_the_same_update(self, runs, name, number, at):
        """Resumed, the run has the bits of one that was not stopped."""
        first, second = (seen(runs / "two", "stopped", rank=rank)[name] for rank in (0, 1))
        assert first["signal"] == second["signal"] == number
        assert first["at"] == first["position"] == second["at"] == second["position"] == at
        undisturbed = seen(runs / "two", "undisturbed")
        assert first["digest"] == second["digest"] == undisturbed["digest"]
        assert first["rows"] == undisturbed["rows"]
        assert first["skipped"] == undisturbed["skipped"]

    def test_a_signal_in_the_evaluation_ends_all_processes(self, runs):
        for rank in (0, 1):
            assert seen(runs / "two", "stopped", rank=rank)["evaluation"] == {"signal": 15, "saved": True}

    @pytest.mark.long
    def test_checkpoints_are_written_in_the_middle_of_an_epoch(self, runs):
        """By the clock of the first process; the second is killed, and the run goes on from the update before."""
        code, log = self.together(runs / "killed", "by_the_minute")
        assert code == 1
        newest = checkpoints_in(runs / "killed" / "often")[0]
        assert f"; resume from {newest}\n" in log, log
        assert len(re.findall(r"DistributedError: (.*)", log)) == 1
        code, log = self.together(runs / "killed", "continued")
        assert code == 0, log
        continued, undisturbed = seen(runs / "killed", "continued"), seen(runs / "two", "undisturbed")
        assert continued["at"] == [1, 1]
        assert continued["digest"] == undisturbed["digest"]
        assert continued["rows"] == undisturbed["rows"]

    def command(self, out, *more):
        """`xfer train` on the photos."""
        options = f"--backend {self.backend} --device cpu --model tiny --weights none --image-size 16 --epochs 2"
        rest = f"--fine-tune 4 --batch-size 8 --precision fp64 --optimizer sgd --no-train-norm --out {out}"
        return ["train", str(out.parent.parent / "photos"), *options.split(), *rest.split(), *more]

    @pytest.mark.long
    def test_xfer_train_starts_its_processes(self, place):
        """With the numbers of one process, and the bits of two after a signal; the first process prints and writes."""
        folder, python = place / "started", [sys.executable, "-m", "xfer"]
        folder.mkdir()
        found = {}
        for name, processes in (("one", 1), ("two", 2), ("broken", 2)):
            command = [*python, *self.command(folder / name, "--processes", str(processes), "--checkpoint-steps", "1")]
            if name == "broken":
                run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                until = time.monotonic() + 240
                while len(checkpoints_in(folder / name / "checkpoints")) < 2 and time.monotonic() < until:
                    time.sleep(0.01)
                run.send_signal(signal.SIGTERM)
                said = run.communicate(timeout=240)[1]
                assert run.returncode == 143, said
                newest = checkpoints_in(folder / name / "checkpoints")[0]
                assert said.splitlines()[-1] == f"interrupted: the same command goes on from {newest}"
                assert said.count("interrupted") == 1
            done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=240)
            assert done.returncode == 0, done.stderr
            assert len(re.findall(r"^fine-tune epoch 6/6", done.stderr, re.MULTILINE)) == 1, done.stderr
            found[name] = json.loads(done.stdout)
            assert found[name] == json.loads((folder / name / "metrics.json").read_text())
        rows = {name: [row | {"seconds": 0} for row in each["epochs"]] for name, each in found.items()}
        for mine, theirs in zip(rows["two"], rows["one"], strict=True):
            assert mine | {"phase": 0} == pytest.approx(theirs | {"phase": 0}, **CLOSE)
        assert found["two"]["val"] == pytest.approx(found["one"]["val"], **CLOSE)
        assert rows["broken"] == rows["two"]
        digests = [open_checkpoint(folder / name).manifest.tensors.sha256 for name in ("two", "broken")]
        assert digests[0] == digests[1]
        assert found["broken"]["resumed"] is not None

    @pytest.mark.long
    def test_a_run_in_python_starts_its_processes(self, place):
        folder = place / "python"
        folder.mkdir()
        settings = {"backend": self.backend, "device": "cpu", "model": "tiny", "weights": "none", "image_size": 16}
        config = RunSettings(
            data=str(place / "photos"), out=str(folder / "run"), epochs=1, precision="fp64", processes=2, **settings
        )
        result = train(config, progress=False)
        assert result.evaluation.metrics == pytest.approx(result.metrics["val"], **CLOSE)
        assert result.metrics["config"]["processes"] == 2
        broken = config.model_copy(update={"data": str(place / "nowhere"), "out": str(folder / "broken")})
        with pytest.raises(DataError, match="does not exist"):
            train(broken, progress=False)

    @pytest.mark.long
    def test_a_killed_process_ends_the_run_which_resumes_from_its_checkpoint(self, long_runs):
        """Killed in the third of four epochs, while the other waits for it, or is busy and is told by the launcher."""
        runs = long_runs
        code, log = self.together(runs / "killed", "killed")
        errors = re.findall(r"DistributedError: (.*)", log)
        assert code == 1
        assert len(errors) == 1
        # Which of the two it hears first, the connection or the launcher, is a matter of timing.
        assert errors[0].startswith(
            ("another process of this run has ended (", "the launcher ends this run, because")
        ), errors
        assert errors[0].endswith(f"; resume from {runs / 'killed' / 'run'}")
        assert re.search(r"rank +: 0.*\n +exitcode +: 1 ", log), log

        code, log = self.together(runs / "busy", "killed_busy")
        (error,) = re.findall(r"DistributedError: (.*)", log)
        assert code == 1
        assert error.startswith("the launcher ends this run, because another process of it has ended")
        assert error.endswith(f"; resume from {runs / 'busy' / 'run'}")

        for folder in ("killed", "busy"):
            manifest = json.loads((runs / folder / "run" / "manifest.json").read_text())
            assert manifest["training"]["epoch"] == 2
            assert not list((runs / folder / "run").glob(".*.part")), "half a file was left behind"
        code, log = self.together(runs / "killed", "resumed")
        assert code == 0, log
        resumed, whole = seen(runs / "killed", "resumed"), seen(runs / "two", "whole")
        assert [row["epoch"] for row in resumed["rows"]] == [1, 2, 3, 4]
        assert_same(resumed, whole)
        assert resumed["digest"] == whole["digest"], "not the bits of a run that was never killed"


def seen(folder, name, size=2, rank=0):
    return json.loads((folder / f"{name}-{size}-{rank}.json").read_text())


def assert_same(mine, theirs):
    """Epochs and final weights."""
    for ours, other in zip(mine["rows"], theirs["rows"], strict=True):
        assert ours["phase"] == other["phase"]
        assert ours | {"phase": 0} == pytest.approx(other | {"phase": 0}, **CLOSE)
    assert mine["weights"] == pytest.approx(theirs["weights"], **CLOSE)
