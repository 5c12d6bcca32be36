"""Images and labels from anywhere, as identical uint8 batches for every backend.

>>> data = xfer.data.folder("photos")
>>> loader = xfer.data.Loader(data.train, preprocessing, batch_size=32, shuffle=True, augment="light")
>>> for batch in loader.epoch(0):
...     batch.images, batch.labels
"""

from xfer.data.audit.inspection import inspect
from xfer.data.audit.result import Inspection
from xfer.data.batch import Batch, Skipped
from xfer.data.budget import Budget
from xfer.data.dataset import Data, Split
from xfer.data.loader import Loader
from xfer.data.samples import Sample, Samples
from xfer.data.sources.arrays import arrays
from xfer.data.sources.datasets import wrap
from xfer.data.sources.digits import digits
from xfer.data.sources.folders import folder
from xfer.data.sources.load import load, pictures
from xfer.data.sources.tables import manifest
from xfer.data.transforms.augment import Augment
from xfer.data.transforms.mix import Mix
from xfer.specs.choices import OnBad, Sampling

__all__ = [
    "Augment",
    "Batch",
    "Budget",
    "Data",
    "Inspection",
    "Loader",
    "Mix",
    "OnBad",
    "Sample",
    "Samples",
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
