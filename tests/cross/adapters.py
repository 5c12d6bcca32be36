"""A process of the tests of adapters on both frameworks: it begins a run, or goes on with that of the other.

usage: python adapters.py BACKEND FOLDER WEIGHTS OUT

Where FOLDER/run is not there it is made, with a first epoch from the file WEIGHTS, which is written before. A second
epoch follows; OUT are the weights and the logits.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
import xfer
import xfer.zoo
from tests.suites import tiny_timm
from tests.suites.adapters import CLASSES, NAME, images, small_data, write_backbone


def main(backend, folder, weights, out):
    xfer.zoo._CARDS[NAME] = tiny_timm.CARDS[NAME]
    place = {"backend": backend, "device": "cpu"}
    if not Path(folder, "run").exists():
        write_backbone(backend, weights)
        options = {"classes": CLASSES, "image_size": 32, "precision": "fp64", **place}
        model = xfer.load(NAME, weights=weights, **options)
        model.add_lora(4, 8)
        options = {"lr": 1e-2, "batch_size": 4, "restore_best": False, "progress": False, "cache": False}
        trainer = xfer.Trainer(model, **options)
        trainer.fit(small_data(), 1)
        trainer.save(Path(folder, "run"))
    else:
        trainer = xfer.Trainer.resume(Path(folder, "run"), progress=False, cache=False, **place)
    trainer.fit(small_data(), 1)
    trainer.model.freezer.verify()
    np.savez(out, **trainer.model.weights(), logits=trainer.model.logits(images(4, 9)))


if __name__ == "__main__":
    main(*sys.argv[1:])
