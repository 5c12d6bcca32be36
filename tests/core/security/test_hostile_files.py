"""Every class of hostile file, read in a process that audits itself: refused, without effect, at little cost.

python -m pytest tests/core/security -v      names every attack
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.security import files, runs

MIB = 400  # that a refusal may take at the most, beyond what the process had
SECONDS = 20  # generous: nothing here takes two on a quiet machine
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What became of each attack."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "work").mkdir()
    attacks = files.write(folder) + runs.write(folder)
    before = sorted(p for p in folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.security.victim", str(folder)],
        input=json.dumps(attacks),
        capture_output=True,
        text=True,
        cwd=folder / "work",
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found.keys() == {name for name, _, _ in attacks}
    after = sorted(p for p in folder.rglob("*") if "warm" not in p.parts)
    assert after == before, "a file has come into being or is gone"
    return {name: found[name] | {"kind": kind} for name, kind, _ in attacks}


def test_all_are_refused_in_one_line(report):
    believed = {n: r for n, r in report.items() if (r["outcome"] == "refused") == (r["kind"] == "harmless")}
    assert not believed, believed
    assert not [name for name, found in report.items() if "\n" in found["message"] or "\x1b" in found["message"]]
    assert len(report) > 200


def test_nothing_is_executed_imported_written_or_sent(report):
    assert not {name: found["seen"] for name, found in report.items() if found["seen"]}


def test_time_and_memory_are_bounded(report):
    worst = sorted(report, key=lambda name: -report[name]["MiB"])[:5]
    slowest = sorted(report, key=lambda name: -report[name]["seconds"])[:5]
    print("\nMiB:", {name: report[name]["MiB"] for name in worst})
    print("seconds:", {name: round(report[name]["seconds"], 2) for name in slowest})
    assert not {name: found for name, found in report.items() if found["MiB"] > MIB or found["seconds"] > SECONDS}


def test_the_hook_sees_what_it_is_there_for(tmp_path):
    """The same child with readers that do what a pickle does: each is seen."""
    code = """
import os, pickle, socket, subprocess, sys
from tests.core.security import victim
watch = victim.Watch(sys.argv[1])
class Call:
    def __reduce__(self): return os.system, ("true",)
evil = pickle.dumps(Call())
victim.READERS = {
    "pickle": lambda path: pickle.loads(evil), "exec": lambda path: exec("1"), "socket": lambda path: socket.socket(),
    "process": lambda path: subprocess.run(["true"]), "write": lambda path: open(path, "w"),
    "outside": lambda path: open("/etc/hostname"), "remove": lambda path: os.remove(path),
    "import": lambda path: __import__("this_is_none"),
}
for kind in victim.READERS:
    print(kind, len(victim.attack(kind, sys.argv[1] + "/x", watch)["seen"]) > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])},
    )
    words = done.stdout.split()
    assert len(words) == 16, done.stderr
    assert set(words[1::2]) == {"True"}, done.stdout
