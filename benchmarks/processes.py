"""What two processes add to a step: the exchange of ResNet-50's gradients and statistics, against torch's.

    python benchmarks/processes.py [--model resnet50] [--backends torch,tensorflow] [--rounds 20] [--size 64]
                                   [--batch 4] [--norms frozen,trained] [--json out.json] [--md out.md]

Two processes of one thread each, on one machine, train every tensor. In each round both make the step of their share of
the batch, each for itself, and then together; the exchange is the difference. It depends on the number of parameters,
not on the images, which are few and small. The backends take turns. Normalisation is frozen, or trained and
synchronised.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from harness import Apart, interleave, ratio, write

from xfer.runtime.rendezvous import free_port

SIZE = 2  # processes
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
Seconds = tuple[float, float]


def one_of_two(
    backend: str, rank: int, port: int, model: str, image_size: int, batch: int, norm: bool
) -> Callable[[], Seconds]:
    """Seconds of a step alone, and of one that both processes make."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(SIZE)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **dict.fromkeys(THREADS, "1")}
    import xfer
    from xfer.specs.inputs import Inputs
    from xfer.specs.loss import LossSpec
    from xfer.specs.optimizer import OptimizerSpec
    from xfer.specs.rates import block_rates
    from xfer.specs.update import UpdateSpec

    options = {"precision": "fp32", "dropout": False, "device": "cpu", "image_size": image_size}
    network = xfer.load(model, backend=backend, weights=None, classes=10, **options)
    if not norm:
        network.freezer.freeze_norm()
    processes = network.backend.distributed_context("cpu")
    stepper = network.backend.stepper(network, UpdateSpec(OptimizerSpec("sgd"), LossSpec()))
    rates = block_rates(1e-12, network.blocks)  # alone, the weights part
    rng = np.random.default_rng(rank)
    images = rng.integers(0, 256, (batch // SIZE, image_size, image_size, 3), dtype=np.uint8)
    labels = np.arange(batch) % 10
    mine, whole = labels[processes.share(batch)], Inputs(images, shards=(batch // SIZE,) * SIZE)

    def seconds(step: Callable[[], object]) -> float:
        processes.gather(None, "begin")
        started = time.perf_counter()
        step()
        return time.perf_counter() - started

    return lambda: (
        seconds(lambda: stepper.step(images, mine, rates)),
        seconds(lambda: stepper.step(whole, labels, rates)),
    )


class Pair:
    """Both processes of a backend."""

    def __init__(self, *arguments: object) -> None:
        backend, *others = arguments
        port = free_port()
        self._processes = [Apart(one_of_two, backend, rank, port, *others) for rank in range(SIZE)]

    def __call__(self) -> Seconds:
        """The seconds of the first process."""
        for process in self._processes:
            process.ask()
        first, *_ = [process.answer() for process in self._processes]
        return first

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.close()


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--backends", default="torch,tensorflow", help="the first is what the others are compared with")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--size", type=int, default=64, help="pixels of a side")
    parser.add_argument("--batch", type=int, default=4, help="images of both processes together")
    parser.add_argument("--norms", default="frozen,trained", help="normalisation")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    options = parser.parse_args()
    backends = options.backends.split(",")
    rows, seconds = [], {}
    for norm in options.norms.split(","):
        pairs = {name: Pair(name, options.model, options.size, options.batch, norm == "trained") for name in backends}
        found = {name: np.array(each) for name, each in interleave(pairs, options.rounds, warmup=2).items()}
        added = {name: each[:, 1] - each[:, 0] for name, each in found.items()}
        for name in backends:
            rows.append(
                {
                    "": f"{name}, normalisation {norm}",
                    "a step alone, s": float(np.median(found[name][:, 0])),
                    "together, s": float(np.median(found[name][:, 1])),
                    "exchange, s": float(np.median(added[name])),
                    f"exchange / {backends[0]}'s": ratio(added[name], added[backends[0]]),
                }
            )
            seconds[rows[-1][""]] = found[name].tolist()
        for pair in pairs.values():
            pair.close()
    title = f"Two processes, {options.model}, batch {options.batch}, {options.size} pixels"
    print(write(title, rows, options.json, options.md, seconds=seconds))


if __name__ == "__main__":
    main()
