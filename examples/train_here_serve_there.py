"""Train in one framework, serve from the other: one checkpoint, equal predictions.

usage: python examples/train_here_serve_there.py train|serve BACKEND [RUN]

    python examples/train_here_serve_there.py train torch
    python examples/train_here_serve_there.py serve tensorflow
"""

import sys

import numpy as np

import xfer


def train(backend: str, run: str = "run", **options) -> np.ndarray:
    data = xfer.data.digits()
    model = xfer.load("efficientnet_lite0", backend=backend, classes=data.classes, image_size=64, **options)
    model.freeze()
    trainer = xfer.Trainer(model, lr=3e-3)
    trainer.fit(data, epochs=2)
    trainer.save(run)
    return model.predict_proba(data.val)


def serve(backend: str, run: str = "run") -> np.ndarray:
    model = xfer.load(run, backend=backend)  # classes, preprocessing and head come with the run
    pictures = xfer.data.digits().val
    for name, prediction in zip(pictures.names[:5], model.predict(pictures.images[:5]), strict=True):
        print(f"{name}: {prediction.label} ({prediction.probability:.1%})")
    return model.predict_proba(pictures)


if __name__ == "__main__":
    {"train": train, "serve": serve}[sys.argv[1]](*sys.argv[2:])
