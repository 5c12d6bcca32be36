"""xfer: one transfer-learning workflow for images, unchanged on PyTorch, TensorFlow and JAX.

>>> import xfer
>>> model = xfer.load("resnet50", backend="torch", classes=["ant", "bee"])
>>> model.freeze()
>>> xfer.Trainer(model, lr=1e-3).fit(xfer.data.folder("photos"), epochs=5)

Everything is imported on first use, so that `import xfer` costs nothing and loads no framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from xfer.runtime.version import __version__ as __version__

if TYPE_CHECKING:
    from xfer import data as data
    from xfer import sklearn as sklearn
    from xfer import zoo as zoo
    from xfer.certify.run import parity as parity
    from xfer.checkpoints.checkpoint import Checkpoint as Checkpoint
    from xfer.checkpoints.rotation import Checkpoints as Checkpoints
    from xfer.data.columns import Columns as Columns
    from xfer.data.dataset import Data as Data
    from xfer.errors import XferError as XferError
    from xfer.evaluation import metrics as metrics
    from xfer.evaluation.calibration import calibrate as calibrate
    from xfer.evaluation.label_issues import find_label_issues as find_label_issues
    from xfer.evaluation.thresholds import tune_thresholds as tune_thresholds
    from xfer.exporting.export import export as export
    from xfer.features.cache import FeatureCache as FeatureCache
    from xfer.features.extract import extract as extract
    from xfer.features.resample import resample as resample
    from xfer.models.backend import Backend as Backend
    from xfer.models.backend import backends as backends
    from xfer.models.base_model import BaseModel as BaseModel
    from xfer.models.factory import load as load
    from xfer.models.freezer import Freezer as Freezer
    from xfer.models.predictions import Prediction as Prediction
    from xfer.models.wrap import wrap as wrap
    from xfer.report.compare import compare as compare
    from xfer.report.evaluation import evaluation_report as evaluation_report
    from xfer.report.gap import gap as gap
    from xfer.report.push import push as push
    from xfer.report.ranking import rank as rank
    from xfer.report.tuning import tune as tune
    from xfer.runtime.progress import show_progress as show_progress
    from xfer.specs.class_weights import class_weights as class_weights
    from xfer.specs.class_weights import log_prior as log_prior
    from xfer.specs.head import Head as Head
    from xfer.specs.loss import LossSpec as LossSpec
    from xfer.specs.numerics import Numerics as Numerics
    from xfer.specs.optimizer import OptimizerSpec as OptimizerSpec
    from xfer.specs.preprocessing import Preprocessing as Preprocessing
    from xfer.specs.schedule import Schedule as Schedule
    from xfer.specs.tasks import Task as Task
    from xfer.traces.diff import diff as diff
    from xfer.traces.record import record as record
    from xfer.training import callbacks as callbacks
    from xfer.training.trainer import Trainer as Trainer
    from xfer.workflows.bagging import bag as bag
    from xfer.workflows.ensemble import Ensemble as Ensemble
    from xfer.workflows.pseudo_labels import pseudo_label as pseudo_label
    from xfer.workflows.soup import soup as soup

_WHERE = {
    "Backend": "xfer.models.backend",
    "BaseModel": "xfer.models.base_model",
    "Checkpoint": "xfer.checkpoints.checkpoint",
    "Checkpoints": "xfer.checkpoints.rotation",
    "Columns": "xfer.data.columns",
    "Data": "xfer.data.dataset",
    "Ensemble": "xfer.workflows.ensemble",
    "FeatureCache": "xfer.features.cache",
    "Freezer": "xfer.models.freezer",
    "Head": "xfer.specs.head",
    "LossSpec": "xfer.specs.loss",
    "OptimizerSpec": "xfer.specs.optimizer",
    "Numerics": "xfer.specs.numerics",
    "Prediction": "xfer.models.predictions",
    "Preprocessing": "xfer.specs.preprocessing",
    "Schedule": "xfer.specs.schedule",
    "Task": "xfer.specs.tasks",
    "Trainer": "xfer.training.trainer",
    "XferError": "xfer.errors",
    "backends": "xfer.models.backend",
    "bag": "xfer.workflows.bagging",
    "calibrate": "xfer.evaluation.calibration",
    "class_weights": "xfer.specs.class_weights",
    "compare": "xfer.report.compare",
    "diff": "xfer.traces.diff",
    "evaluation_report": "xfer.report.evaluation",
    "export": "xfer.exporting.export",
    "extract": "xfer.features.extract",
    "find_label_issues": "xfer.evaluation.label_issues",
    "gap": "xfer.report.gap",
    "load": "xfer.models.factory",
    "log_prior": "xfer.specs.class_weights",
    "parity": "xfer.certify.run",
    "pseudo_label": "xfer.workflows.pseudo_labels",
    "push": "xfer.report.push",
    "rank": "xfer.report.ranking",
    "record": "xfer.traces.record",
    "resample": "xfer.features.resample",
    "show_progress": "xfer.runtime.progress",
    "soup": "xfer.workflows.soup",
    "tune": "xfer.report.tuning",
    "tune_thresholds": "xfer.evaluation.thresholds",
    "wrap": "xfer.models.wrap",
}
_MODULES = {
    "callbacks": "xfer.training.callbacks",
    "data": "xfer.data",
    "metrics": "xfer.evaluation.metrics",
    "sklearn": "xfer.sklearn",
    "zoo": "xfer.zoo",
}

__all__ = ["__version__", *sorted({**_WHERE, **_MODULES})]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = import_module(_MODULES[name])
    elif name in _WHERE:
        value = getattr(import_module(_WHERE[name]), name)
    else:
        raise AttributeError(f"module 'xfer' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
