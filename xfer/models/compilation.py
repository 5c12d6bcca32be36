"""`compile=True`: torch.compile or XLA where that is faster, with the batch after which it has paid for itself.

Both take seconds to minutes for a network before the first result, so they are asked for, and then measured: the first
batch is computed without and with, and the faster way is kept. Inference and training are compiled, and decided, each
by itself. A clock decides otherwise from one run to the next, so in a deterministic run what is asked for is compiled.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from xfer.models.base_model import BaseModel

Work = Literal["inference", "training"]


def settle(model: BaseModel, work: Work, once: Callable[[], object]) -> None:
    """Decide whether `work` goes on compiled, and say what was measured; if deterministic, it does if it can.

    Args:
        model: what `compiled` is set of.
        work: the kind.
        once: it, on a batch; it changes nothing.
    """
    model.compiled[work] = False
    once()  # what is made once
    plain = _seconds(once)
    model.compiled[work] = True
    try:
        first, fast = _seconds(once), _seconds(once)
    except Exception as error:  # no compiler, or an operation that it does not know: whatever the framework raises
        model.compiled[work] = False
        print(f"{work} cannot be compiled, and goes on without: {_line(error)}", file=sys.stderr)
        return
    model.compiled[work] = fast < plain
    cost = f"{work} compiled in {first:.3g} s: a batch takes {fast:.3g} s, {plain:.3g} s without; "
    if model.spec.deterministic:
        model.compiled[work] = True
        print(f"{cost}it goes on compiled, because the run is deterministic", file=sys.stderr)
    elif fast < plain:
        print(f"{cost}it has paid after {math.ceil((first - fast) / (plain - fast))} batches", file=sys.stderr)
    else:
        print(f"{cost}it goes on without", file=sys.stderr)


def _seconds(once: Callable[[], object]) -> float:
    started = time.perf_counter()
    once()
    return time.perf_counter() - started


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
