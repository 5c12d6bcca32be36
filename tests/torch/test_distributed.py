"""Several processes on PyTorch, started by torchrun."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.suites.distributed import DistributedSuite
from xfer.errors import DeviceError
from xfer_torch.backend import TorchBackend

ROOT = str(Path(__file__).parents[2])
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def run(folder, command):
    """The exit code, and all that was printed."""
    path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XFER_FEATURES": str(folder / "features"), "PYTHONPATH": path}
    with (folder / "log").open("w") as log:
        done = subprocess.run(command, env=environment, cwd=folder, stdout=log, stderr=log, timeout=300)
    return done.returncode, (folder / "log").read_text()


def test_more_processes_than_gpus_are_refused_by_all_alike(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(DeviceError, match="2 processes on this machine need a GPU each, and it has 1: start 1, or"):
            TorchBackend().resolve_device("auto")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert TorchBackend().resolve_device("auto") == "cuda:0", "two machines with a GPU each"


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
