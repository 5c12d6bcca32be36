"""Importing TensorFlow without its start-up messages, which no log level silences."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from xfer.runtime.distributed import launch_environment


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


@contextmanager
def held_back() -> Iterator[None]:
    """Hold back what is written to file descriptor 2; it is shown after all if an error is raised."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
