"""Importing TensorFlow without its start-up messages, which no log level silences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from xfer.runtime.distributed import launch_environment
from xfer.runtime.quiet import held_back


@contextmanager
def quiet_start() -> Iterator[None]:
    """Hold back what C++ code writes to stderr meanwhile; it is shown after all if an error is raised.

    TensorFlow's libraries log before their log level is read. Who sets `TF_CPP_MIN_LOG_LEVEL` sees everything. In a
    run of several processes errors are not logged either: that another process has ended is said in one line.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2" if launch_environment().size == 1 else "3"
    with held_back():
        yield
