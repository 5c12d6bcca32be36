"""A training step with GNU OpenMP's waiting against that of the `xfer` command, on a free machine and beside a program.

    python benchmarks/openmp.py [--model mobilenet_v3_small] [--batch 16] [--rounds 5] [--json out.json] [--md out.md]

On PyTorch, on the CPU, noise in a batch, weights drawn, everything trained; a process for each side, in turn. The
program beside it is one endless loop, in a session of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
from harness import Apart, Contender, interleave, ratio, write


def steps(model: str, batch: int, brief: bool) -> Contender:
    """Seconds of a step."""
    from xfer.runtime.openmp import spin_briefly

    if brief and not spin_briefly():
        raise SystemExit("the environment has set up how threads wait: unset GOMP_SPINCOUNT and OMP_WAIT_POLICY")
    import torch
    import torchvision

    network = torchvision.models.get_model(model)
    rule = torch.optim.SGD(network.parameters(), 1e-3)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(batch, 3, 64, 64)).astype("float32"))
    labels = torch.from_numpy(rng.integers(0, 1000, batch))

    def once() -> float:
        started = time.perf_counter()
        rule.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        rule.step()
        return time.perf_counter() - started

    once()
    return once


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="mobilenet_v3_small")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    sides = {
        name: Apart(steps, given.model, given.batch, brief) for name, brief in (("GNU's", False), ("xfer's", True))
    }
    rows, details = [], {}
    for machine in ("free", "beside one busy process"):
        busy = None
        if machine != "free":
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        try:
            found = details[machine] = interleave(sides, given.rounds)
        finally:
            if busy is not None:
                busy.kill()
        rows.append(
            {
                "machine": machine,
                "GNU's, s": median(found["GNU's"]),
                "xfer's, s": median(found["xfer's"]),
                "xfer's / GNU's": ratio(found["xfer's"], found["GNU's"]),
            }
        )
    for process in sides.values():
        process.close()
    print(write(f"How threads wait, {os.cpu_count()} cores", rows, given.json, given.md, seconds=details))


if __name__ == "__main__":
    main()
