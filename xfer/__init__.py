"""xfer: one transfer-learning workflow for images, unchanged on PyTorch and on TensorFlow/Keras.

>>> import xfer
>>> model = xfer.load("resnet50", backend="torch", classes=["ant", "bee"])
>>> model.freeze()
>>> xfer.Trainer(model, lr=1e-3).fit(xfer.data.folder("photos"), epochs=5)

Everything is imported on first use, so that `import xfer` costs nothing and loads no framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from xfer import data as data
    from xfer import sklearn as sklearn
    from xfer import zoo as zoo
    from xfer.averaging import soup as soup
    from xfer.backend import Backend as Backend
    from xfer.backend import backends as backends
    from xfer.certify import parity as parity
    from xfer.checkpoint import Checkpoint as Checkpoint
    from xfer.columns import Columns as Columns
    from xfer.data import Data as Data
    from xfer.ensemble import Ensemble as Ensemble
    from xfer.ensemble import bag as bag
    from xfer.errors import XferError as XferError
    from xfer.features import extract as extract
    from xfer.freezer import Freezer as Freezer
    from xfer.head import Head as Head
    from xfer.imbalance import class_weights as class_weights
    from xfer.imbalance import log_prior as log_prior
    from xfer.loading import load as load
    from xfer.model import BaseModel as BaseModel
    from xfer.model import Prediction as Prediction
    from xfer.numerics import LossSpec as LossSpec
    from xfer.numerics import OptimizerSpec as OptimizerSpec
    from xfer.numerics import Preprocessing as Preprocessing
    from xfer.numerics import Schedule as Schedule
    from xfer.report import compare as compare
    from xfer.rotation import Checkpoints as Checkpoints
    from xfer.synthesis import resample as resample
    from xfer.tasks import Task as Task
    from xfer.trainer import Trainer as Trainer
    from xfer.tuning import calibrate as calibrate
    from xfer.tuning import pseudo_label as pseudo_label
    from xfer.tuning import tune_thresholds as tune_thresholds
    from xfer.wrapping import wrap as wrap

_WHERE = {
    "data": "xfer.data",
    "sklearn": "xfer.sklearn",
    "zoo": "xfer.zoo",
    "Backend": "xfer.backend",
    "backends": "xfer.backend",
    "Checkpoint": "xfer.checkpoint",
    "Checkpoints": "xfer.rotation",
    "Data": "xfer.data",
    "XferError": "xfer.errors",
    "Freezer": "xfer.freezer",
    "Head": "xfer.head",
    "class_weights": "xfer.imbalance",
    "log_prior": "xfer.imbalance",
    "load": "xfer.loading",
    "BaseModel": "xfer.model",
    "Prediction": "xfer.model",
    "LossSpec": "xfer.numerics",
    "OptimizerSpec": "xfer.numerics",
    "Preprocessing": "xfer.numerics",
    "Schedule": "xfer.numerics",
    "compare": "xfer.report",
    "parity": "xfer.certify",
    "Trainer": "xfer.trainer",
    "Columns": "xfer.columns",
    "Ensemble": "xfer.ensemble",
    "bag": "xfer.ensemble",
    "extract": "xfer.features",
    "soup": "xfer.averaging",
    "calibrate": "xfer.tuning",
    "tune_thresholds": "xfer.tuning",
    "pseudo_label": "xfer.tuning",
    "resample": "xfer.synthesis",
    "Task": "xfer.tasks",
    "wrap": "xfer.wrapping",
}

__all__ = ["__version__", *sorted(_WHERE)]


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'xfer' has no attribute {name!r}")
    module = import_module(_WHERE[name])
    value = module if _WHERE[name] == f"xfer.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
