"""The benchmarks' harness measures fairly and writes what it measured."""

import json

import numpy as np
import pytest

from benchmarks.harness import Apart, Interval, interleave, machine, ratio, write


def constant(value):
    return lambda: value


def test_every_round_has_each_once_and_begins_with_another():
    calls = []
    contenders = {name: (lambda name=name: calls.append(name) or len(calls)) for name in "abc"}
    found = interleave(contenders, rounds=3, warmup=1)
    rounds = ["".join(calls[i : i + 3]) for i in range(0, 12, 3)]
    assert rounds[1:] == ["abc", "bca", "cab"]
    assert sorted(rounds[0]) == list("abc")
    assert found == {"a": [4, 9, 11], "b": [5, 7, 12], "c": [6, 8, 10]}


def test_a_ratio_is_paired_within_rounds():
    slowed = np.array([1.0, 0.1, 0.5, 1.0, 0.7])  # the machine's, for both alike
    assert ratio(2 * slowed, slowed) == Interval(2.0, 2.0, 2.0)
    found = ratio(np.random.default_rng(0).normal(1, 0.1, 101), np.ones(101))
    assert 0.95 < found.low < found.value < found.high < 1.05


def test_a_contender_in_its_own_process():
    apart = Apart(constant_there, 2.5)
    assert [apart(), apart()] == [2.5, 2.5]
    apart.close()
    with pytest.raises(OSError, match="closed"):
        apart()


def constant_there(value):
    return constant(value)


def test_files(tmp_path):
    rows = [{"what": "x", "images/s": 1234.5, "ratio": Interval(0.5, 0.25, 1.0)}]
    text = write("Title", rows, tmp_path / "a.json", tmp_path / "a.md", rounds=[1, 2])
    assert "| x | 1,234 | 0.5 (0.25 to 1) |" in text
    assert (tmp_path / "a.md").read_text() == text
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["results"][0]["ratio"] == {"value": 0.5, "low": 0.25, "high": 1.0}
    assert document["rounds"] == [1, 2]
    assert document["machine"] == machine()
