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
