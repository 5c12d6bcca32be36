"""Run the test suites, each in its own process: torch and TensorFlow never meet in one.

usage: python tests/run.py [--all] [pytest options]
"""

import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
SUITES = ("repo", "core", "fuzz", "crash", "torch", "keras", "cross")
NO_TESTS = 5  # pytest's exit code when it collected nothing, which is a failure here too


def main(arguments: list[str]) -> int:
    """Run every suite, then print their closing lines and the sum."""
    options = [x for x in arguments if x != "--all"]
    if "--all" in arguments:
        options += ["-m", ""]
    closing, failed = [], 0
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for suite in SUITES:
        print(f"--- tests/{suite}", flush=True)
        command = [sys.executable, "-m", "pytest", str(TESTS / suite), "--durations=5", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TESTS.parent)
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
        failed += process.wait() != 0
        closing.append(f"tests/{suite}: {last}")
        for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", last):
            counts["failed" if word == "error" else word] += int(number)
    print("\n".join(["---", *closing]))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
