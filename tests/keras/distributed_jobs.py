"""What processes on TensorFlow do in test_distributed.py, beside the jobs of all backends."""

import os
import time

import psutil

from xfer_keras import distributed
from xfer_keras.distributed import joined


def exchange_often():
    """No thread is left behind by an exchange."""
    context, process = joined(), psutil.Process()
    context.gather(None, "first")
    before = process.num_threads()
    for number in range(100):
        assert context.gather(number + context.rank, "next") == [number, number + 1]
    assert process.num_threads() < before + 50


def hang():
    """The second process comes too late."""
    distributed.TIMEOUT = 1.0
    context = joined()
    time.sleep(60 * int(os.environ["RANK"]))
    context.gather(None, "never")
