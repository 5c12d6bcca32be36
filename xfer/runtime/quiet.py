"""What libraries write past Python's streams."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back(*descriptors: int) -> Iterator[None]:
    """Hold back what is written to file descriptors, 2 (stderr) by default; it goes to 2 if an error is raised."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    kept = dict[int, int]()
    with tempfile.TemporaryFile() as held:
        for number in descriptors or (2,):
            try:
                kept[number] = os.dup(number)
            except OSError:  # it is closed
                continue
            os.dup2(held.fileno(), number)
        try:
            yield
        except BaseException:
            held.seek(0)
            if 2 in kept:
                os.write(kept[2], held.read())
            raise
        finally:
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
