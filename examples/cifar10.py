"""CIFAR-10 from where you have it: torchvision's data set or Keras's, on either backend.

usage: python examples/cifar10.py [torch|tensorflow]
"""

import sys

import xfer


def main(backend: str = "torch", source: tuple | None = None, **options) -> float:
    train, test = source or {"torch": from_torchvision, "tensorflow": from_keras}[backend]()
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    data = xfer.data.wrap(train, test, classes=names)
    settings = {"image_size": 64} | options
    model = xfer.load("efficientnet_lite0", backend=backend, classes=data.classes, **settings)
    trainer = xfer.Trainer(model, lr=1e-3, augment="flip")
    trainer.fine_tune(data, head_epochs=1, epochs=1, unfreeze=2)
    return model.evaluate(data).metrics["accuracy"]


def from_torchvision() -> tuple:
    from torchvision.datasets import CIFAR10

    return CIFAR10("data", train=True, download=True), CIFAR10("data", train=False, download=True)


def from_keras() -> tuple:
    from keras.datasets import cifar10

    return cifar10.load_data()  # two pairs of arrays, (x_train, y_train), (x_test, y_test)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
