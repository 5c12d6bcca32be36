"""Run the test suites, two at a time, each in its own process: torch, TensorFlow and JAX never meet in one.

usage: python tests/run.py [--all] [pytest options]
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
SUITES = ("cross", "core", "torch", "keras", "jax", "crash", "docs", "repo", "fuzz")  # the longest first
AT_A_TIME = 2
# Two suites share the cores: one thread each, or they would wait for each other.
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


class Outcome(NamedTuple):
    """How a suite ended: its exit code, its output, its seconds, and what its closing line counts."""

    suite: str
    code: int
    output: str
    seconds: float

    @property
    def last(self) -> str:
        """pytest's closing line, if it is one."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines and re.search(r"\d+ \w+.* in [\d.]+s", lines[-1]) else ""

    @property
    def counts(self) -> dict[str, int]:
        """Tests that passed, failed (errors too) and were skipped. A suite that died counts as one that failed."""
        found = {"passed": 0, "failed": 0, "skipped": 0}
        for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", self.last):
            found["failed" if word == "error" else word] += int(number)
        if (self.code and not found["failed"]) or (not self.code and not found["passed"]):
            found["failed"] += 1
        return found

    @property
    def line(self) -> str:
        """The suite's closing line for people."""
        said = self.last or "ended without a closing line"
        died = f"; exit code {self.code}" if self.code else ""
        return f"{self.suite}: {said}{died} ({self.seconds:.0f} s)"


def run(suite: Path, options: Sequence[str]) -> Outcome:
    """One suite, its output printed when it ends."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", str(suite), "-v", "--no-header", "--durations=5", *options]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=TESTS.parent, env=os.environ | THREADS
    )
    found = Outcome(suite.name, done.returncode, done.stdout, time.perf_counter() - started)
    shown = [line for line in done.stdout.splitlines() if " PASSED" not in line]
    print("\n".join([f"--- tests/{suite.name}", *shown]), flush=True)
    return found


def main(arguments: Sequence[str], folder: Path = TESTS, suites: Sequence[str] = SUITES) -> int:
    """Run every suite, then print their closing lines and the sum."""
    options = [x for x in arguments if x != "--all"]
    if "--all" in arguments:
        options += ["-m", ""]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        outcomes = list(pool.map(lambda suite: run(folder / suite, options), suites))
    counts = {word: sum(outcome.counts[word] for outcome in outcomes) for word in ("passed", "failed", "skipped")}
    print("\n".join(["---", *(outcome.line for outcome in outcomes)]))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return int(counts["failed"] > 0 or any(outcome.code for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
