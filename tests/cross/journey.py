"""A leg of a training journey, in a process of its own.

usage: python journey.py whole|leave|arrive BACKEND MODEL RUN OUT [head|tail]

`whole` trains without interruption; `leave` stops in the middle of an epoch, in the head phase or after the unfreeze,
and saves; `arrive` goes on to the end. The finished weights go to OUT (.npz), in float64.
"""

import sys

import numpy as np

import xfer
from xfer.training.callback import Callback


class Leave(Callback):
    """Ends the process's part after the second batch of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_step_end(self, trainer, step, loss):
        if (trainer.epoch, step) == (self.epoch, 1):
            raise KeyboardInterrupt


def pictures():
    rng = np.random.default_rng(5)
    labels = np.arange(40) % 3
    images = rng.integers(0, 156, (40, 32, 32, 3)) + 33 * labels[:, None, None, None]
    return xfer.data.arrays(images[:32].astype(np.uint8), labels[:32], images[32:].astype(np.uint8), labels[32:])


def start(backend, model, callbacks=()):
    net = xfer.load(model, backend=backend, weights=None, classes=3, image_size=32, precision="fp64")
    net.freeze()
    settings = {"augment": "flip,crop=0.7", "clip_norm": 1.0, "restore_best": False, "progress": False}
    schedule = xfer.Schedule("cosine", warmup=2)
    loss = xfer.LossSpec(label_smoothing=0.1)
    return xfer.Trainer(
        net, lr=1e-3, optimizer="adamw", schedule=schedule, loss=loss, batch_size=8, callbacks=callbacks, **settings
    )


def head(trainer, data):
    trainer.fit(data, 2, phase="head")


def tail(trainer, data):
    trainer.model.unfreeze(last=1)
    trainer.fit(data, 2, lr={"head": 1e-3, trainer.model.blocks[-2]: 3e-4}, phase="fine-tune")


def main(job, backend, model, run, out, phase="head"):
    data = pictures()
    if job == "whole":
        trainer = start(backend, model)
        head(trainer, data)
        tail(trainer, data)
    elif job == "leave":
        trainer = start(backend, model, [Leave(1 if phase == "head" else 3)])
        try:
            head(trainer, data)
            tail(trainer, data)
        except KeyboardInterrupt:
            trainer.save(run)
        assert trainer.batch == 2
        return
    else:
        trainer = xfer.Trainer.resume(run, backend=backend, progress=False, restore_best=False)
        trainer.fit(data)
        if phase == "head":
            tail(trainer, data)
    losses = np.array(trainer.history.column("val_loss"))
    np.savez(out, val_loss=losses, **trainer.model.weights())


if __name__ == "__main__":
    main(*sys.argv[1:])
