"""glibc's malloc set up for large arrays, in the processes of the command line.

glibc maps blocks of 32 MiB and more from the system at each allocation and returns them when they are freed. Outputs of
a convolution are of that size, so every layer of every batch pays for fresh pages. Kept in the heap, they are used
again; benchmarks/allocator.py measures it. It changes malloc for the whole process, so a library call never does it.
"""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP = 1 << 30
_OF_THE_USER = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_pages() -> bool:
    """Let glibc keep freed blocks of up to 1 GiB for this process, where nobody has set up malloc by hand.

    Returns:
        Whether it does: False on other systems, with another malloc, or where the environment says how malloc is to
        work (`MALLOC_TRIM_THRESHOLD_` and kin, `GLIBC_TUNABLES`, a preloaded library).
    """
    if sys.platform != "linux" or any(name in os.environ for name in _OF_THE_USER):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP) and mallopt(_TRIM_THRESHOLD, 2**31 - 1))
