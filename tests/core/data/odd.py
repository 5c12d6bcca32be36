"""What the tests of odd inputs and odd data sets share."""

import os
import sys
import unicodedata

import numpy as np
import pytest

import xfer
from xfer.data import inspect
from xfer.testing import NumpyBackend

posix = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such files")


def network(classes):
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=list(classes), image_size=16)


def snapshot(root):
    """What changes when anything is written, made, renamed or removed below a folder."""
    found = {}
    for where, folders, files in os.walk(os.fsencode(root)):
        for name in (b".", *folders, *files):
            about = os.lstat(os.path.join(where, name))  # noqa: PTH118
            found[where, name] = (about.st_mode, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    return found


def journey(data, root=None):
    """Inspection, an epoch of training and a reading of every image; nothing is written into `root`."""
    before = snapshot(root) if root else None
    found = inspect(data)
    for split in found.splits.values():
        assert split.listed == split.readable + len(split.unreadable)
    model = network(data.classes)
    # Training drops a last batch of one image, which would then not be read at all.
    trainer = xfer.Trainer(model, progress=False, batch_size=7 if len(data.train) % 8 == 1 else 8)
    history = trainer.fit(data, 1)
    assert np.isfinite(history[-1]["loss"])
    assert history[-1]["images"] == found.splits["train"].readable
    assert set(trainer.skipped) == set(found.splits["train"].unreadable)
    assert before is None or snapshot(root) == before
    return found, model


def reasons(found):
    return {bad.name: bad.reason for split in found.splits.values() for bad in split.unreadable}


NAMES = (
    "two  words .png",
    "-rf.png",
    "--json.png",
    "[bold]red.png",
    "%s{0}$HOME;&'\".png",
    "~nobody.png",
    "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}.png",
    unicodedata.normalize("NFC", "e\N{COMBINING ACUTE ACCENT}.png"),
    unicodedata.normalize("NFD", "e\N{COMBINING ACUTE ACCENT}.png"),
    "x" * 251 + ".png",
    "two\nlines\x1b[31m\r.png",
    os.fsdecode(b"\xff\xfe.png"),
)
