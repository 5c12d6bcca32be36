"""For all suites: what is cached goes into a folder of its own, also in the processes that tests start."""

import os
import signal
import tempfile

import numpy as np
import pytest

os.environ.setdefault("XFER_FEATURES", tempfile.mkdtemp(prefix="xfer-features-"))

import xfer

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what runs in its background so
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def model():
    """A small model on the NumPy backend, three classes, 16 x 16 pixels, everything trainable."""
    from xfer.testing import NumpyBackend

    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b", "c"], image_size=16)


@pytest.fixture
def data():
    """60 images in three classes that differ in colour, and 15 to validate on."""
    rng = np.random.default_rng(0)
    labels = np.arange(75) % 3
    images = rng.integers(0, 120, (75, 16, 16, 3))
    images[np.arange(75), :, :, labels] += 100
    images = images.astype(np.uint8)
    return xfer.data.arrays(images[:60], labels[:60], images[60:], labels[60:], classes=["a", "b", "c"])
