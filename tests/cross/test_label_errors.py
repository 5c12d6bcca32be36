"""Likely label errors with the features of EfficientNet-Lite0: found, and in the same order on both backends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "label_errors.py"


@pytest.mark.long
def test_exchanged_labels_are_ranked_first_on_both_backends(tmp_path):
    out = tmp_path / "found.json"
    command = [sys.executable, BENCHMARK, "digits", "--shares", "0.05", "--limit", "600", "--json", out]
    subprocess.run(command, check=True)
    found = json.loads(out.read_text())
    assert found["results"][0]["found"] >= 0.6
    assert found["backends"][0]["places"] == 0
    assert found["backends"][0]["score"] < 1e-5
