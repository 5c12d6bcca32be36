"""Load, freeze, train a new head, evaluate, predict: the whole job in a dozen lines.

usage: python examples/quickstart.py [torch|tensorflow]
"""

import sys

import xfer


def main(backend: str = "torch", **options) -> float:
    data = xfer.data.digits()  # your own photos: xfer.data.folder("photos")
    model = xfer.load("efficientnet_lite0", backend=backend, classes=data.classes, image_size=64, **options)
    print(model.freeze())
    xfer.Trainer(model, lr=3e-3).fit(data, epochs=3)
    print(model.evaluate(data).metrics)
    print(model.predict(data.val.images[0], top=3))
    model.save("run")
    return model.evaluate(data).metrics["accuracy"]


if __name__ == "__main__":
    main(*sys.argv[1:])
