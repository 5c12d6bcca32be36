"""Networks, trainers and callbacks of the jobs in distributed_job.py."""

import os
import signal
import time
from functools import partial

import numpy as np

import xfer
from xfer.models.backend import get_backend
from xfer.runtime.files import tensors_digest
from xfer.training.callback import Callback

BACKEND = "torch"  # of the jobs, which `main` sets


def network(classes, name="tiny", **options):
    settings = {"weights": None, "image_size": 32, "precision": "fp64", "dropout": False} | options
    return xfer.load(name, backend=BACKEND, device="cpu", classes=classes, **settings)


def trainer(model, **options):
    settings = {"batch_size": 8, "workers": 1, "lr": 1e-2, "progress": False} | options
    return xfer.Trainer(model, **settings)


def shards_of(run):
    """A list that grows by (images of this process, images of the batch) at every update."""
    seen, step = [], run.stepper.step
    run.stepper.step = lambda inputs, *rest: seen.append((len(inputs), len(rest[0]))) or step(inputs, *rest)
    return seen


class SaveAndDie(Callback):
    """Saves after each epoch; in the middle of the third one process is killed, and the other may be busy."""

    def __init__(self, out, killed, busy):
        self.out, self.killed, self.busy = out, killed, busy

    def on_step_end(self, trainer, step, loss):
        if self.killed is None or (trainer.epoch, step) != (2, 1):
            return
        if trainer.distributed.rank == self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.busy)

    def on_epoch_end(self, trainer, row):
        trainer.save(self.out / "run")


class Call(Callback):
    """Calls something in one process after one update of a fit."""

    def __init__(self, act, rank, epoch, step):
        self.act, self.at = act, (rank, epoch, step)

    def on_step_end(self, trainer, step, loss):
        if (trainer.distributed.rank, trainer.epoch, step) == self.at:
            self.act()


def told(run, **more):
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in run.history]
    skipped = [(each.name, each.reason) for each in run.skipped]
    rng = np.random.default_rng(0)
    sums = {name: float((array * rng.normal(size=array.shape)).sum()) for name, array in run.model.weights().items()}
    return {"rows": rows, "skipped": skipped, "digest": tensors_digest(run.model.weights()), "weights": sums} | more


def wrapped(classes, net):
    get_backend(BACKEND).distributed_context("cpu")
    return xfer.wrap(net, classes=classes, backend=BACKEND, device="cpu", head="fc", image_size=32)


def native(norm_of_its_own=False):
    """A network of the framework itself, with batch normalisation, or with a layer that keeps statistics like it."""
    if BACKEND == "torch":
        import torch
        from torch import nn

        torch.manual_seed(0)
        norm = partial(nn.InstanceNorm2d, track_running_stats=True) if norm_of_its_own else nn.BatchNorm2d
        net = nn.Sequential()
        for name, module in {
            **{"conv": nn.Conv2d(3, 4, 3, 2), "bn": norm(4), "relu": nn.ReLU()},
            **{"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(4, 3)},
        }.items():
            net.add_module(name, module)
        return net.double()
    if BACKEND == "jax":
        from xfer_jax.modes import modes

        with modes("cpu", double=True):
            return native_keras(norm_of_its_own)
    return native_keras(norm_of_its_own)


def native_keras(norm_of_its_own):
    import keras

    class OwnNorm(keras.layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return super().call(inputs, training=training, mask=mask)

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("float64")
    norm = OwnNorm if norm_of_its_own else keras.layers.BatchNormalization
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, 2, name="conv")(image)
    x = keras.layers.ReLU(name="relu")(norm(name="bn")(x))
    z = keras.layers.Dense(3, name="fc")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    keras.config.set_dtype_policy("float32")
    return keras.Model(image, z)
