"""Features of a batch in bfloat16 against float32, network by network: where precision "auto" pays.

    python benchmarks/inference.py [--models resnet50,efficientnet_b0,...] [--backends torch,tensorflow] [--batch 32]
                                   [--rounds 5] [--device cpu] [--json out.json] [--md out.md]

Noise in a batch, weights drawn; both precisions in one process, in turn. `fast_bf16` of a backend follows this table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from harness import Apart, interleave, ratio, write

MODELS = (
    "alexnet,vgg11,resnet18,resnet50,resnext50_32x4d,densenet121,googlenet,squeezenet1_1,mobilenet_v2,mobilenet_v3_large,"
    "mnasnet1_0,shufflenet_v2_x1_0,efficientnet_b0,efficientnet_lite0,regnet_y_400mf,convnext_tiny,vit_b_32,swin_t,maxvit_t"
)


def race(model: str, backend: str, batch: int, rounds: int, device: str) -> Callable[[], dict[str, list[float]]]:
    """Images a second in both precisions, round by round."""
    import xfer

    def rate(precision: str) -> Callable[[], float]:
        network = xfer.load(model, backend=backend, weights=None, classes=2, precision=precision, device=device)
        size = network.spec.preprocessing.size
        images = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)

        def once() -> float:
            started = time.perf_counter()
            network.stage(images, "features")
            return batch / (time.perf_counter() - started)

        return once

    sides = {precision: rate(precision) for precision in ("fp32", "bf16")}
    return lambda: interleave(sides, rounds)


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--backends", default="torch,tensorflow")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    rows, details = [], {}
    for model in given.models.split(","):
        row: dict[str, object] = {"network": model}
        for backend in given.backends.split(","):
            process = Apart(race, model, backend, given.batch, given.rounds, given.device)
            found = details[f"{model}, {backend}"] = process()
            process.close()
            row[f"{backend}, fp32 images/s"] = median(found["fp32"])
            row[f"{backend}, bf16 / fp32"] = ratio(found["bf16"], found["fp32"])
        rows.append(row)
    print(write(f"Inference, batches of {given.batch}", rows, given.json, given.md, rates=details))


if __name__ == "__main__":
    main()
