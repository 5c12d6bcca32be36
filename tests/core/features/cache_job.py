"""What a process of test_cache_processes.py does: `cache_job.py OPTIONS`, a JSON object.

It trains on a cache, or fills a part of it, and prints one JSON object; before that, on demand, a line for each write.
"""

import ctypes
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

import xfer
import xfer.features.compute
from xfer.features.cache import FeatureCache
from xfer.features.store import Writer
from xfer.testing import NumpyBackend
from xfer.training.callback import Callback


class Slow(Callback):
    """Says that an epoch has ended, and waits for a word."""

    def on_epoch_end(self, trainer, row):
        print("epoch", flush=True)
        sys.stdin.readline()


def write_slowly(seconds):
    """Four images a write, each of which is told."""
    xfer.features.compute._FLUSH, append = 1, Writer.append

    def slow(self, digests, rows):
        append(self, digests, rows)
        print("written", flush=True)
        time.sleep(seconds)

    Writer.append = slow


def obey_permissions():
    """Without this, root may write into whatever is read-only: give up CAP_DAC_OVERRIDE."""
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    data[0] &= ~(1 << 1)  # of the effective ones
    assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())


def main(cache=None, seed=0, epochs=3, slow=None, budget=1 << 30, file_limit=None, shard=None, wait=False, obey=False):
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    data = xfer.data.arrays(images, np.arange(40) % 3, images[:8], np.arange(8) % 3, classes=list("abc"))
    options = {"weights": None, "classes": data.classes, "image_size": 16, "precision": "fp64", "seed": seed}
    model = xfer.load("tiny", backend=NumpyBackend(), **options)
    model.freeze()
    if slow is not None:
        write_slowly(slow)
    if obey:
        obey_permissions()
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    kept = False if cache is None else FeatureCache(Path(cache), budget)
    if shard is not None:
        print(json.dumps({"computed": kept.fill(model, data, shard=shard, batch_size=4).computed}))
        return
    callbacks = [Slow()] if wait else []
    trainer = xfer.Trainer(model, lr=0.02, cache=kept, batch_size=4, callbacks=callbacks, progress=False)
    rows = [[row["loss"], row["val_loss"]] for row in trainer.fit(data, epochs)]
    used = trainer.cached and [trainer.cached.there, trainer.cached.computed]
    print(json.dumps({"rows": rows, "used": used}), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
