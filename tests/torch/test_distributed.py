"""Several processes on PyTorch, started by torchrun."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.suites.distributed import DistributedSuite

ROOT = str(Path(__file__).parents[2])
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def run(folder, command):
    """The exit code, and all that was printed."""
    path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XFER_FEATURES": str(folder / "features"), "PYTHONPATH": path}
    with (folder / "log").open("w") as log:
        done = subprocess.run(command, env=environment, cwd=folder, stdout=log, stderr=log, timeout=300)
    return done.returncode, (folder / "log").read_text()


class TestDistributed(DistributedSuite):
    backend = "torch"

    def together(self, folder, *jobs):
        return run(folder, [*TORCHRUN, "-m", "tests.suites.distributed_job", *self._arguments(folder, jobs)])

    @pytest.mark.long
    def test_the_command_line_trains_in_two_processes_and_speaks_once(self, place):
        folder = place / "cli"
        folder.mkdir()
        command = "-m xfer train ../photos --backend torch --device cpu --model tiny --weights none --no-train-norm"
        options = "--json --image-size 16 --epochs 2 --fine-tune 1 --batch-size 8 --precision fp64 --out run"
        code, log = run(folder, [*TORCHRUN, *command.split(), *options.split()])
        assert code == 0, log
        printed = json.loads(log[log.index("{\n") : log.rindex("}") + 1])
        assert printed == json.loads((folder / "run" / "metrics.json").read_text())
        assert len(re.findall(r"^(?:head|fine-tune) epoch ", log, re.MULTILINE)) == 3
        assert log.count("frozen blocks: ") == 2, "one line a fit, not one a process"
        lines = (folder / "run" / "predictions.csv").read_text().splitlines()
        assert len(lines) == 1 + 14
