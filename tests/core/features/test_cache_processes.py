"""Runs that share a cache, each a process: none spoils another's results, and none waits in silence or for the dead."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

JOB = Path(__file__).with_name("cache_job.py")
ROWS = 40  # the images of validation are among those of training


def start(cache=None, **options):
    given = json.dumps(options | ({} if cache is None else {"cache": str(cache)}))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(JOB), given], **pipes)


def finish(process):
    """What it found, and what it said on stderr."""
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1]), err


def run(*arguments, **options):
    return finish(start(*arguments, **options))


@pytest.fixture(scope="module")
def plain():
    """Losses of training and validation without a cache."""
    return run()[0]["rows"]


def assert_same(found, plain):
    np.testing.assert_allclose(found["rows"], plain, rtol=1e-9)


def test_a_second_run_waits_says_so_and_reads_what_the_first_made(tmp_path, plain):
    first = start(tmp_path, slow=0.5)
    first.stdout.readline()
    found, said = run(tmp_path)
    mine, _ = finish(first)
    assert said.count("\n") == 1
    assert said.startswith(f"waiting for another process that fills {tmp_path}/tiny-")
    assert (mine["used"], found["used"]) == ([0, ROWS + 8], [ROWS + 8, 0])
    assert_same(mine, plain)
    assert_same(found, plain)


@pytest.mark.long
def test_nobody_waits_for_the_dead(tmp_path, plain):
    """Killed in the middle, while another waits: that one has the lock at once, and the rows that were written."""
    first = start(tmp_path, slow=60)
    first.stdout.readline()
    second = start(tmp_path)
    assert second.stderr.readline().startswith("waiting for another process")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    found, _ = finish(second)
    assert found["used"] == [4 + 4, ROWS - 4 + 4], "four images were written, and are in validation, too"
    assert_same(found, plain)
    assert list(tmp_path.glob("*/*.lock")), "the lock file is there, and holds nobody up"


@pytest.mark.long
def test_shards_fill_one_space_at_the_same_time(tmp_path, plain):
    parts = [start(tmp_path, shard=f"{i}/3", slow=0.05) for i in range(3)]
    made = [finish(part)[0]["computed"] for part in parts]
    assert min(made) > 0
    found, said = run(tmp_path)
    assert found["used"] == [ROWS + 8, 0]
    assert said == ""
    assert_same(found, plain)


@pytest.mark.long
def test_what_is_cleared_while_it_is_read_is_read_on(tmp_path, plain):
    """The budget has room for one network: a run on another one clears the space from which the first reads."""
    budget = 256 + (ROWS + 10) * (64 + 16 * 8)
    reader = start(tmp_path, wait=True)
    assert reader.stdout.readline() == "epoch\n"
    (space,) = tmp_path.glob("tiny-*")
    found, _ = run(tmp_path, seed=1, budget=budget)
    assert found["used"] == [0, ROWS + 8]
    assert not space.exists()
    mine, said = finish_waiting(reader)
    assert said == ""
    assert_same(mine, plain)


def finish_waiting(process):
    process.stdin.write("\n" * 9)
    process.stdin.flush()
    return finish(process)


@pytest.mark.long
def test_what_is_being_filled_is_not_cleared(tmp_path, plain):
    """Until its process has ended: the budget has room for one network and a row."""
    writer, other = start(tmp_path, slow=60), start(seed=1)
    writer.stdout.readline()
    (space,) = tmp_path.glob("tiny-*")
    budget = (ROWS + 1) * (64 + 16 * 8)
    found, said = run(tmp_path, seed=1, budget=budget)
    assert found["used"] is None
    assert said.count("\n") == 1
    assert "features cannot be cached and are computed in every epoch: " in said
    assert "do not fit beside those that other processes are writing" in said
    assert list(space.glob("*.rows"))
    assert found["rows"] == finish(other)[0]["rows"]
    writer.kill()
    writer.communicate()
    assert run(tmp_path, seed=1, budget=budget)[0]["used"] == [0, ROWS + 8]
    assert not space.exists()


def test_a_disk_that_is_full(tmp_path, plain):
    """A file may have 2000 bytes: two writes of four rows succeed, the third fails after its first row."""
    found, said = run(tmp_path, file_limit=2000, slow=0)
    assert found["used"] is None
    assert said.count("\n") == 1
    assert "features cannot be cached" in said
    assert_same(found, plain)
    again, said = run(tmp_path)
    assert again["used"] == [9 + 8, ROWS - 9], "whole rows are of use; the first eight are of validation, too"
    assert_same(again, plain)


@pytest.mark.long
def test_a_folder_that_may_only_be_read(tmp_path, plain):
    """Features that are there are read; where some are missing, training goes on without a cache."""
    cache = tmp_path / "cache"
    run(cache, shard="0/2")
    close(cache)
    found, said = run(cache, obey=True)
    assert found["used"] is None
    assert said.count("\n") == 1
    assert "features cannot be cached and are computed in every epoch: [Errno 13] Permission denied" in said
    assert_same(found, plain)
    open_again(cache)
    run(cache, shard="1/2")
    close(cache)
    found, said = run(cache, obey=True)
    open_again(cache)
    assert found["used"] == [ROWS + 8, 0]
    assert said == ""
    assert_same(found, plain)


def close(folder):
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)


def open_again(folder):
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.long
@pytest.mark.parametrize("moment", ["while it is filled", "while it is read"])
def test_a_folder_that_vanishes(tmp_path, plain, moment):
    filled = moment == "while it is read"
    process = start(tmp_path / "cache", **({"wait": True} if filled else {"slow": 0.2}))
    process.stdout.readline()
    shutil.rmtree(tmp_path / "cache")
    found, said = finish_waiting(process) if filled else finish(process)
    assert (found["used"] is not None) == filled
    assert said.count("\n") == (0 if filled else 1)
    assert filled or "features cannot be cached" in said
    assert_same(found, plain)
