"""How threads wait, as GNU OpenMP itself says it (`OMP_DISPLAY_ENV`) when a command has begun."""

import os
import re
import subprocess
import sys

import pytest

COMMAND = """
import sys
from xfer.cli import main
sys.argv = ["xfer", "models"]
try:
    main()
finally:
    import torch
"""
WORKER = """
from xfer.workflows.worker import main
try:
    main()
except ValueError:  # no job
    import torch
"""
LIBRARY = "import xfer; xfer.load('squeezenet1_1', backend='torch', weights=None, classes=2)"


def spins(code, **given):
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | {"OMP_DISPLAY_ENV": "verbose"} | given, capture_output=True,
        text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return set(re.findall(r"GOMP_SPINCOUNT = '(\d+|INFINITY)'", done.stderr))


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP")
def test_threads_of_a_command_wait_briefly_unless_the_user_says_otherwise():
    assert spins(COMMAND) == spins(WORKER) == {"2000"}
    assert spins(COMMAND, GOMP_SPINCOUNT="7") == {"7"}
    assert spins(COMMAND, OMP_WAIT_POLICY="active").isdisjoint({"2000"})
    assert spins(LIBRARY).isdisjoint({"2000"})
