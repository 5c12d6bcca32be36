"""GNU OpenMP, with which PyTorch computes on Linux, set up for a machine that also does something else.

A thread that waits for the others spins first, for milliseconds. Where another program has the core of one of them, the
rest spin that long after each operation, and a step beside one busy process can take fifty times as long. With a short
spin they sleep instead. benchmarks/openmp.py measures it.
"""

import os

_SPIN = "2000"  # rounds; GNU OpenMP's own are 300,000
_OF_THE_USER = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def spin_briefly() -> bool:
    """Let waiting threads of this process and its children sleep soon, where nobody has said how they wait.

    It is read when a framework is loaded, and has no effect after that. A library call never does it.

    Returns:
        Whether it does: False where `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` is set.
    """
    if any(name in os.environ for name in _OF_THE_USER):
        return False
    os.environ["GOMP_SPINCOUNT"] = _SPIN
    return True
