"""A batch of features with malloc as glibc sets it up against malloc as the `xfer` command sets it up.

    python benchmarks/allocator.py [--models resnet50,efficientnet_b0,vit_b_32] [--batch 32] [--rounds 5]
                                   [--precision fp32] [--json out.json] [--md out.md]

On PyTorch, on the CPU, noise in a batch, weights drawn; a process for each side, in turn.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
from harness import Apart, Contender, interleave, ratio, write


def features(model: str, batch: int, precision: str, keep: bool) -> Contender:
    """Seconds of a batch."""
    import xfer
    from xfer.runtime.malloc import keep_pages

    if keep and not keep_pages():
        raise SystemExit("malloc cannot be set up here: not glibc, or the environment has set it up")
    network = xfer.load(model, backend="torch", weights=None, classes=2, precision=precision, device="cpu")
    size = network.spec.preprocessing.size
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)

    def once() -> float:
        started = time.perf_counter()
        network.stage(images, "features")
        return time.perf_counter() - started

    return once


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="resnet50,efficientnet_b0,vit_b_32")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    rows, details = [], {}
    for model in given.models.split(","):
        sides = {
            name: Apart(features, model, given.batch, given.precision, keep)
            for name, keep in (("glibc's", False), ("xfer's", True))
        }
        found = details[model] = interleave(sides, given.rounds)
        for process in sides.values():
            process.close()
        rows.append(
            {
                "network": model,
                "glibc's, s": median(found["glibc's"]),
                "xfer's, s": median(found["xfer's"]),
                "xfer's / glibc's": ratio(found["xfer's"], found["glibc's"]),
            }
        )
    print(write(f"malloc, batches of {given.batch} in {given.precision}", rows, given.json, given.md, seconds=details))


if __name__ == "__main__":
    main()
