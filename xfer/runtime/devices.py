"""One spelling of devices for every framework: `auto`, `cpu`, `cuda`, `cuda:1`, `gpu:0`, `mps`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from xfer.errors import DeviceError, UsageError


def cpu_cores() -> int:
    """How many cores this process may use: a container may own fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16, AMX or Arm's); False where nothing says so."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def deterministic(asked: bool | None, device: str, compile: bool = False) -> bool:
    """Whether results shall be the same bits each time: as asked, else on the CPU, where it costs next to nothing.

    Nor by default where `compile` asks for what a clock finds faster.
    """
    return device == "cpu" and not compile if asked is None else asked


def resolve(device: str, available: Sequence[str]) -> str:
    """The canonical name (`cpu`, `cuda:0`, `mps`) of a device that is there.

    Args:
        device: what the user asked for; `auto` is the first accelerator, else the CPU; `gpu` means `cuda` (or `mps`).
        available: canonical names of what the backend sees, `cpu` among them.

    Raises:
        UsageError: not a device's name. DeviceError: a device that is not in `available`.
    """
    if device == "auto":
        return next((d for d in available if d != "cpu"), "cpu")
    match = re.fullmatch(r"(cpu|mps|cuda|gpu)(?::(\d+))?", device)
    if match is None:
        raise UsageError(f"unknown device {device!r}: give auto, cpu, cuda, cuda:1, gpu:0 or mps")
    kind, index = match.groups()
    if kind == "gpu" and "mps" in available and index in (None, "0"):
        return "mps"
    name = f"cuda:{int(index or 0)}" if kind in ("cuda", "gpu") else kind
    if name not in available or (kind in ("cpu", "mps") and index not in (None, "0")):
        raise DeviceError(f"device {device!r} is not here: available are {', '.join(available)}")
    return name
