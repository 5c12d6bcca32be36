"""Which engine Keras runs on; it is chosen when Keras is imported, for the whole process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from xfer.errors import BackendError


@contextmanager
def engine(name: str) -> Iterator[None]:
    """Have Keras imported on this engine, unless `KERAS_BACKEND` names another. Processes started later choose anew."""
    chosen = "KERAS_BACKEND" in os.environ
    os.environ.setdefault("KERAS_BACKEND", name)
    try:
        yield
    finally:
        if not chosen:
            del os.environ["KERAS_BACKEND"]


def check_engine(name: str) -> None:
    """Assert that Keras runs on this engine.

    Raises:
        BackendError: on another.
    """
    import keras

    if (running := keras.backend.backend()) != name:
        raise BackendError(f"Keras runs on {running!r}: start a process with KERAS_BACKEND={name} for backend {name!r}")
