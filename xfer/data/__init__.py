"""Images and labels from anywhere, as identical uint8 batches for every backend.

>>> data = xfer.data.folder("photos")
>>> loader = xfer.data.Loader(data.train, preprocessing, batch_size=32, shuffle=True, augment="light")
>>> for batch in loader.epoch(0):
...     batch.images, batch.labels
"""

from xfer.data.augment import Augment
from xfer.data.budget import Budget
from xfer.data.dataset import Data, Split
from xfer.data.digits import digits
from xfer.data.folders import folder
from xfer.data.inspection import Inspection, inspect
from xfer.data.loader import Batch, Loader, OnBad, Skipped
from xfer.data.memory import arrays
from xfer.data.mix import Mix
from xfer.data.sampling import Sampling
from xfer.data.sources import load, pictures
from xfer.data.tables import manifest
from xfer.data.wrapped import wrap

__all__ = [
    "Augment",
    "Batch",
    "Budget",
    "Data",
    "Inspection",
    "Loader",
    "Mix",
    "OnBad",
    "Sampling",
    "Skipped",
    "Split",
    "arrays",
    "digits",
    "folder",
    "inspect",
    "load",
    "manifest",
    "pictures",
    "wrap",
]
