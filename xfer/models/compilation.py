"""`compile=True`: torch.compile or XLA where that is faster, with the number of batches after which it has paid off.

Both take seconds to minutes for a network before the first result. So the first batch is computed without and with, and
the faster way is used from then on. Inference and training are chosen separately. Timings differ from one run to the
next, so in a deterministic run everything that can be compiled is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

from xfer.errors import first_line
from xfer.runtime import progress

Work = Literal["inference", "training"]


def choose(work: Work, once: Callable[[], object], compiled: dict[str, bool], deterministic: bool) -> None:
    """Choose whether `work` goes on compiled, and print what was measured.

    Args:
        work: the kind of work.
        once: does it on a batch, without a lasting effect.
        compiled: read by `once`; its entry for `work` is set.
        deterministic: compile without comparing, if it is possible.
    """
    compiled[work] = False
    once()  # one-time work
    plain = _seconds(once)
    compiled[work] = True
    try:
        with progress.step(f"compiling the network for {work}"):
            first, fast = _seconds(once), _seconds(once)
    except Exception as error:  # no compiler, or an unknown operation: whatever the framework raises
        compiled[work] = False
        progress.say(f"{work} cannot be compiled, and goes on without: {first_line(error)}")
        return
    compiled[work] = fast < plain
    cost = f"{work} compiled in {first:.3g} s: a batch takes {fast:.3g} s, {plain:.3g} s without; "
    if deterministic:
        compiled[work] = True
        progress.say(f"{cost}it goes on compiled, because the run is deterministic")
    elif fast < plain:
        progress.say(f"{cost}it has paid after {math.ceil((first - fast) / (plain - fast))} batches")
    else:
        progress.say(f"{cost}it goes on without")


def _seconds(once: Callable[[], object]) -> float:
    started = time.perf_counter()
    once()
    return time.perf_counter() - started
