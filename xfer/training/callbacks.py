"""All callbacks in one place: `xfer.callbacks`."""

from xfer.training.callback import Callback, TrainerView
from xfer.training.mlflow import MLflow
from xfer.training.monitor import BestWeights, EarlyStopping, MetricMonitor
from xfer.training.progress import Progress
from xfer.training.tensorboard import TensorBoard
from xfer.training.tracking import Tracker
from xfer.training.wandb import WandB
from xfer.training.weight_averaging import ExponentialMovingAverage, WeightAverage

__all__ = [
    "BestWeights",
    "Callback",
    "EarlyStopping",
    "ExponentialMovingAverage",
    "MLflow",
    "MetricMonitor",
    "Progress",
    "TensorBoard",
    "Tracker",
    "TrainerView",
    "WandB",
    "WeightAverage",
]
