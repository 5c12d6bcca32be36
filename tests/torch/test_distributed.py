"""Two processes train what one trains; when one is killed the other ends, and the run goes on from its checkpoint."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

JOB = Path(__file__).with_name("distributed_job.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
SAME = ["head", "tune", "several", "branches", "estimator", "whole"]
UNREADABLE = ["train/b/3.png", "train/c/1.png"]
CLOSE = {"rel": 1e-9, "abs": 1e-12}


def start(folder, command):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XFER_FEATURES": str(folder / "features")}
    with (folder / "log").open("w") as log:
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)


def finish(process, folder):
    """The exit code, and all that was printed."""
    return process.wait(300), (folder / "log").read_text()


def job(folder, names, launcher=(sys.executable,)):
    return start(folder, [*launcher, str(JOB), ",".join(names), str(folder.parent / "photos"), str(folder)])


def seen(folder, name, size=2, rank=0):
    return json.loads((folder / f"{name}-{size}-{rank}.json").read_text())


def assert_same(mine, theirs):
    """Epochs and final weights."""
    for ours, other in zip(mine["rows"], theirs["rows"], strict=True):
        assert ours["phase"] == other["phase"]
        assert ours | {"phase": 0} == pytest.approx(other | {"phase": 0}, **CLOSE)
    assert mine["weights"] == pytest.approx(theirs["weights"], **CLOSE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
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
    for name in ("one", "two", "killed", "busy", "cli"):
        (root / name).mkdir()
    return root


@pytest.fixture(scope="module")
def runs(place):
    """The same jobs in one process and in two."""
    one, two = job(place / "one", SAME), job(place / "two", [*SAME, "refusals", "bad_numbers"], TORCHRUN)
    for process, name in ((one, "one"), (two, "two")):
        code, log = finish(process, place / name)
        assert code == 0, log
    return place


@pytest.mark.parametrize("name", SAME)
def test_two_processes_train_what_one_trains(runs, name):
    """Losses, metrics, images, early stops and final weights; so does the second process as the first."""
    one, first, second = seen(runs / "one", name, size=1), seen(runs / "two", name), seen(runs / "two", name, rank=1)
    assert_same(first, one)
    assert first["skipped"] == one["skipped"]
    assert [image for image, _ in first["skipped"]] == UNREADABLE
    assert second["digest"] == first["digest"]
    assert_same(second, first)
    assert second["skipped"] == first["skipped"]
    assert len({row["loss"] for row in one["rows"]}) == len(one["rows"]), "nothing was trained"


def test_features_were_cached_and_evaluation_is_of_all_images(runs):
    one, two = seen(runs / "one", "head", size=1), seen(runs / "two", "head")
    assert one["cached"]
    assert two["cached"]
    assert two["names"] == one["names"]
    assert two["unreadable"] == one["unreadable"] == ["val/a/2.png"]
    assert two["metrics"] == pytest.approx(one["metrics"], **CLOSE)


def test_each_process_reads_its_share(runs):
    """Of 18 images in batches of 8, two unreadable: shares are uneven, one is empty, and one batch is left out."""
    one, *both = seen(runs / "one", "tune", size=1), *(seen(runs / "two", "tune", rank=rank) for rank in (0, 1))
    assert [mine for mine, _ in one["shards"]] == [of for _, of in one["shards"]]
    assert [len(each["shards"]) for each in (one, *both)] == [8, 8, 8]
    for alone, first, second in zip(one["shards"], *(each["shards"] for each in both), strict=True):
        assert first[1] == second[1] == alone[1] == first[0] + second[0]
        assert max(first[0], second[0]) <= 4
    assert 0 in {mine for each in both for mine, _ in each["shards"]}


def test_the_first_process_alone_writes(runs):
    assert (runs / "one" / "tuned-1-of-0" / "history.json").exists()
    assert (runs / "two" / "tuned-2-of-0" / "history.json").exists()
    assert not (runs / "two" / "tuned-2-of-1").exists()


def test_what_would_differ_is_refused_in_one_line(runs):
    first, second = (seen(runs / "two", "refusals", rank=rank) for rank in (0, 1))
    assert "batch normalisation 'bn1' is trained" in first["norm"]
    assert "freeze_norm()" in first["norm"]
    assert "mix=mixup blends images of one batch, which 2 processes share" in first["mix"]
    assert "processes 0 and 1 have different options of training" in first["options"]
    assert "processes 0 and 1 have different weights" in first["weights"]
    assert "process 0 is at 'save', process 1 at 'beginning of a fit'" in first["parted"]
    assert first.keys() == second.keys()
    assert not any("\n" in text for text in first.values())


def test_bad_numbers_of_one_process_stop_both_alike(runs):
    first, second = (seen(runs / "two", "bad_numbers", rank=rank) for rank in (0, 1))
    assert first == second
    assert first["kind"] == "TrainingError"
    assert re.fullmatch(
        r"bad numbers in epoch 1, batch \d: outputs of 'features', which were given, are not finite "
        r"in 1 of \d samples: train/\S+\.png; the update was not made; mend or remove them",
        first["error"],
    )


@pytest.mark.long
def test_a_killed_process_ends_the_run_which_resumes_from_its_checkpoint(runs):
    """Killed in the third of four epochs, while the other waits for it, or is busy and is told by the launcher."""
    waiting, busy = job(runs / "killed", ["killed"], TORCHRUN), job(runs / "busy", ["killed_busy"], TORCHRUN)
    code, log = finish(waiting, runs / "killed")
    errors = re.findall(r"DistributedError: (.*)", log)
    assert code == 1
    assert len(errors) == 1
    # Which of the two it hears first, the connection or the launcher, is a matter of timing.
    assert errors[0].startswith(("another process of this run has ended (", "the launcher ends this run, because"))
    assert errors[0].endswith(f"; resume from {runs / 'killed' / 'run'}")
    assert re.search(r"rank +: 0 .*\n +exitcode +: 1 ", log), log

    code, log = finish(busy, runs / "busy")
    (error,) = re.findall(r"DistributedError: (.*)", log)
    assert code == 1
    assert error.startswith("the launcher ends this run, because another process of it has ended")
    assert error.endswith(f"; resume from {runs / 'busy' / 'run'}")

    for folder in ("killed", "busy"):
        manifest = json.loads((runs / folder / "run" / "manifest.json").read_text())
        assert manifest["training"]["epoch"] == 2
        assert not list((runs / folder / "run").glob(".*.part")), "half a file was left behind"
    code, log = finish(job(runs / "killed", ["resumed"], TORCHRUN), runs / "killed")
    assert code == 0, log
    resumed, whole = seen(runs / "killed", "resumed"), seen(runs / "two", "whole")
    assert [row["epoch"] for row in resumed["rows"]] == [1, 2, 3, 4]
    assert_same(resumed, whole)


@pytest.mark.long
def test_the_command_line_trains_in_two_processes_and_speaks_once(place):
    command = "-m xfer train ../photos --backend torch --device cpu --model tiny --weights none --no-train-norm --json"
    options = "--image-size 16 --epochs 2 --fine-tune 1 --batch-size 8 --precision fp64 --out run"
    shutil.rmtree(place / "cli" / "run", ignore_errors=True)
    code, log = finish(start(place / "cli", [*TORCHRUN, *command.split(), *options.split()]), place / "cli")
    assert code == 0, log
    printed = json.loads(log[log.index("{\n") : log.rindex("}") + 1])
    assert printed == json.loads((place / "cli" / "run" / "metrics.json").read_text())
    assert len(re.findall(r"^(?:head|fine-tune) epoch ", log, re.MULTILINE)) == 3
    assert log.count("frozen blocks: ") == 2, "one line a fit, not one a process"
    lines = (place / "cli" / "run" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + 14
