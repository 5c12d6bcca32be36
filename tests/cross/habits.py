"""Outputs of blocks, and running statistics after a step, with habits of another framework, written as .npz.

usage: python habits.py BACKEND OUT MODEL:SIZE...
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.cross.forward import random_weights, step
from tests.suites import tiny_timm
from xfer.models.backend import get_backend
from xfer.models.spec import ModelSpec
from xfer.specs.head import Head
from xfer.specs.numerics import Numerics
from xfer.zoo import card, imagenet_classes

STEPPED = 12e6  # parameters; larger networks make the forward pass alone


def main(backend_name, out, *models):
    backend = get_backend(backend_name)
    for model, size in (text.split(":") for text in models):
        found = tiny_timm.CARDS.get(model) or card(model)
        images = np.random.default_rng(0).integers(0, 256, (3, int(size), int(size), 3)).astype(np.uint8)
        for padding in ("same", "symmetric"):
            numerics = Numerics(padding=padding, norm_eps=0.01, norm_momentum=0.4, norm_variance="biased")
            recipe = found.preprocessing.at(int(size))
            net = backend.build(
                ModelSpec(found, Head(), imagenet_classes(), recipe, "fp64", numerics=numerics, dropout=False)
            )
            net.set_weights({name: x.astype(np.float64) for name, x in random_weights(net.shapes()).items()})
            arrays = dict(net.block_outputs(images))
            if found.parameters < STEPPED:
                moved = step(net, images)
                arrays |= {f"step/{name}": array for name, array in moved.items() if "running" in name}
            np.savez(Path(out, f"{model}-{padding}.npz"), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
