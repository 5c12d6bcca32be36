"""What every benchmark shares: fair turns, ratios with intervals, a description of the machine, JSON and a table."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

LIBRARIES = ("xfer-learn", "numpy", "pillow", "torch", "torchvision", "tensorflow", "keras")
Contender = Callable[[], Any]  # does the whole work once, and returns what is measured, such as images a second


@dataclass(frozen=True)
class Interval:
    """A number and the bounds that it lies between."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_number(self.value)} ({_number(self.low)} to {_number(self.high)})"


def interleave(contenders: Mapping[str, Contender], rounds: int, warmup: int = 1) -> dict[str, list[Any]]:
    """One measurement of each contender a round, so that what slows the machine for a while slows all of them.

    Each round begins with another contender. `warmup` rounds go before and are not counted.
    """
    names = list(contenders)
    found: dict[str, list[Any]] = {name: [] for name in names}
    for number in range(-warmup, rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            measured = contenders[name]()
            if number >= 0:
                found[name].append(measured)
    return found


def ratio(a: Sequence[float], b: Sequence[float], level: float = 0.95, seed: int = 0) -> Interval:
    """The median over rounds of a / b within each round, with a percentile bootstrap interval over the rounds."""
    ratios = np.array(a) / np.array(b)
    drawn = np.random.default_rng(seed).integers(len(ratios), size=(10_000, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.median(ratios)), float(low), float(high))


class Apart:
    """A contender in a process of its own: torch and TensorFlow do not go together in one.

    Args:
        make: a function of a module's top level that makes the contender there, where it may import what it likes.
        arguments: for it.
    """

    def __init__(self, make: Callable[..., Contender], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make, *arguments), daemon=False)
        self._process.start()
        there.close()
        atexit.register(self.close)  # before multiprocessing waits for its processes, also after an error

    def __call__(self) -> Any:
        """What the contender measures, once."""
        self.ask()
        return self.answer()

    def ask(self) -> None:
        """Have the contender begin."""
        self._here.send(True)

    def answer(self) -> Any:
        """What it has measured."""
        return self._here.recv()  # EOFError: the process has ended, and has printed why

    def close(self) -> None:
        """End the process."""
        self._here.close()
        self._process.join()


def _serve(there: Connection, make: Callable[..., Contender], *arguments: Any) -> None:
    contender = make(*arguments)
    with suppress(EOFError):
        while there.recv():
            there.send(contender())


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What a measurement depends on, and nothing that names the machine or its owner."""
    versions = {}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[library] = version(library)
    cpuinfo = Path("/proc/cpuinfo")
    models = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")] if cpuinfo.exists() else []
    return {
        "cores": cores(),
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine(),
        "gpus": _gpus(),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def _gpus() -> list[str]:
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return []


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of rows with the same keys, which are the head."""
    cells = ([_number(value) if isinstance(value, float) else str(value) for value in row.values()] for row in rows)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write(
    name: str, results: Sequence[Mapping[str, Any]], json_path: Path | None, md_path: Path | None, **details: Any
) -> str:
    """The results and the machine as Markdown, which is returned, and in files: JSON has the details too.

    Args:
        name: of the benchmark: a heading.
        results: rows of a table: texts, numbers and intervals by the name of the column.
        json_path, md_path: where to; None for nowhere.
        details: whatever else belongs to the results, such as each round's measurements.
    """
    there = machine()
    shown = ", ".join(f"{key} {value}" for key, value in there.items() if value)
    text = f"# {name}\n\n{table(results)}\n{shown}\n"
    if json_path is not None:
        content = {"name": name, "machine": there, "results": results, **details}
        json_path.write_text(json.dumps(content, indent=2, default=asdict) + "\n")
    if md_path is not None:
        md_path.write_text(text)
    return text
