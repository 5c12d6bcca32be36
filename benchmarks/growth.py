"""How the cost of training a head grows with images, epochs, classes and image size.

    python benchmarks/growth.py [--model resnet18] [--backend torch] [--rounds 5] [--json out.json] [--md out.md]

One of the four is doubled twice while the others stay; the photos are noise in memory, nothing is kept from before.
Where a pass over the images is all that costs, time is proportional to images and to pixels, and hardly depends on
epochs and classes: the exponent is the slope of log seconds over log size, 1 for proportional, 0 for no matter.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from harness import Apart, interleave, ratio, write

BASE = {"images": 256, "epochs": 5, "classes": 10, "image size": 64}
TIMES = (1, 2, 4)


def fit(model: str, backend: str, sizes: dict[str, int]) -> Callable[[], float]:
    """Seconds of `Trainer.fit` on a frozen backbone."""
    import xfer

    rng = np.random.default_rng(0)
    number, side, classes = sizes["images"], sizes["image size"], sizes["classes"]
    images = rng.integers(0, 256, (number, side, side, 3), np.uint8)
    data = xfer.data.arrays(images, np.arange(number) % classes, classes=[str(i) for i in range(classes)])

    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XFER_FEATURES"] = folder
            network = xfer.load(model, backend=backend, weights=None, classes=classes, image_size=side)
            network.freeze()
            started = time.perf_counter()
            xfer.Trainer(network, progress=False).fit(data, sizes["epochs"])
            return time.perf_counter() - started

    return once


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    rows, details = [], {}
    for what in BASE:
        sizes = [BASE | {what: BASE[what] * times} for times in TIMES]
        running = {str(size[what]): Apart(fit, given.model, given.backend, size) for size in sizes}
        found = interleave(running, given.rounds)
        for process in running.values():
            process.close()
        middle = {int(name): median(seconds) for name, seconds in found.items()}
        first, last = str(BASE[what]), str(BASE[what] * TIMES[-1])
        rows.append(
            {
                "of": what,
                "sizes": ", ".join(found),
                "seconds": ", ".join(f"{seconds:.2f}" for seconds in middle.values()),
                f"{TIMES[-1]} x costs": ratio(found[last], found[first]),
                "exponent": float(np.polyfit(np.log(list(middle)), np.log(list(middle.values())), 1)[0]),
            }
        )
        details[what] = found
    print(write(f"Growth, {given.model} on {given.backend}", rows, given.json, given.md, seconds=details))


if __name__ == "__main__":
    main()
