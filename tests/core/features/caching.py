"""Models and counts for the tests of the feature cache."""

import xfer
from xfer.testing import NumpyBackend


def build(precision="fp64", **options):
    settings = {"weights": None, "classes": list("abc"), "image_size": 16, "precision": precision} | options
    return xfer.load("tiny", backend=NumpyBackend(), **settings)


def plan(model, unfrozen, norm=True):
    model.freeze()
    model.unfreeze(last=unfrozen)
    if not norm:
        model.freezer.freeze_norm()
    return model


def rows_in(folder):
    return sum((path.stat().st_size - 256) // (64 + 16 * 8) for path in folder.glob("*/*.rows"))


def segments(folder):
    return sorted(folder.glob("*/*.rows"))


KILLED = """
import sys, time
import numpy as np
import xfer
from xfer.features.store import Writer
from xfer.testing import NumpyBackend

append = Writer.append
def slow(self, digests, rows):
    append(self, digests, rows)
    print("written", flush=True)
    time.sleep(0.2)
Writer.append = slow
xfer.features.compute._FLUSH = 1
rng = np.random.default_rng(0)
x = rng.integers(0, 256, (200, 16, 16, 3)).astype(np.uint8)
data = xfer.data.arrays(x, np.arange(200) % 3, val=0)
model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=16, precision="fp64")
model.freeze()
trainer = xfer.Trainer(model, lr=0.02, cache=sys.argv[1], batch_size=8, progress=False)
print(trainer.fit(data, 2)[-1]["loss"], trainer.cached.there, flush=True)
"""
