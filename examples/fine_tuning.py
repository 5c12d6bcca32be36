"""Two phases: train the head on a frozen backbone, then the last blocks with lower rates.

usage: python examples/fine_tuning.py [torch|tensorflow]
"""

import sys

import xfer


def main(backend: str = "torch", epochs: int = 3, **options) -> list[dict]:
    data = xfer.data.digits()
    head = xfer.Head(hidden=(128,), dropout=0.2, norm="batch")
    model = xfer.load("efficientnet_lite0", backend=backend, classes=data.classes, head=head, image_size=64, **options)

    trainer = xfer.Trainer(model, lr=3e-3, augment="crop=0.8,rotate=10", early_stopping=3)
    model.freeze()
    trainer.fit(data, epochs, phase="head")

    model.unfreeze(last=1)  # one block below the head; names, globs and "re:..." work as well
    model.freezer.freeze_norm()  # batch norm keeps the statistics of the pretraining
    body = model.blocks[-2]
    trainer.fit(data, epochs, lr={"head": 1e-3, body: 1e-4}, phase="fine-tune")

    print(model.freezer.verify(), "frozen tensors are bitwise what they were")
    return list(trainer.history)  # trainer.fine_tune(data) is the same recipe in one call


if __name__ == "__main__":
    main(*sys.argv[1:])
