"""A process of the parity tests: one backend's block outputs for seeded weights and images, written as .npz.

usage: python forward.py BACKEND OUT MODEL:SIZE...
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.suites import tiny_timm
from xfer.models.backend import get_backend
from xfer.models.spec import ModelSpec
from xfer.specs.head import Head
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.update import UpdateSpec
from xfer.zoo import card, imagenet_classes

EXPLAINED = ("tf_efficientnet", "resnet", "swin", "vit", "timm_vit", "eva02")


def random_weights(shapes, seed=0):
    """Uniform weights that keep the scale of activations, and statistics away from 0 and 1."""
    arrays = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        u = rng.random(shape, np.float32)
        if len(shape) > 1:
            arrays[name] = (u - 0.5) * np.float32((12.0 / np.prod(shape[1:])) ** 0.5)
        elif name.endswith((".running_var", ".weight")):
            arrays[name] = 0.5 + u
        else:
            arrays[name] = (u - 0.5) * np.float32(0.2)
    return arrays


def step(net, images):
    """What an update of everything adds to each tensor."""
    before = net.weights()
    net.set_trainable(frozenset(net.freezable))
    stepper = net.backend.stepper(net, UpdateSpec(OptimizerSpec("sgd", momentum=0.9), LossSpec()))
    stepper.step(images, np.arange(len(images)), dict.fromkeys(net.blocks, 0.1))
    return {name: array - before[name] for name, array in net.weights().items()}


def adapted(net, images):
    """What an update of adapters adds to each tensor, and the logits before and after merging."""
    net.add_lora(3, 6.0, seed=2)
    rng = np.random.default_rng(4)
    net.set_weights({n: 0.1 * rng.standard_normal(net.shapes()[n]) for n in net.spec.lora.tensors})
    before, found = net.weights(), {}
    stepper = net.backend.stepper(net, UpdateSpec(OptimizerSpec("sgd", momentum=0.9), LossSpec()))
    stepper.step(images, np.arange(len(images)), dict.fromkeys(net.blocks, 0.1))
    found |= {name: array - before[name] for name, array in net.live_weights().items()}
    found["logits"] = net.logits(images)
    net.merge_lora()
    return found | {"merged": net.logits(images)}


def main(backend_name, out, *models):
    backend = get_backend(backend_name)
    for model, size in (text.split(":") for text in models):
        images = np.random.default_rng(0).integers(0, 256, (2, int(size), int(size), 3)).astype(np.uint8)
        found, arrays = tiny_timm.CARDS.get(model) or card(model), None
        for precision in ("fp32", "fp64"):
            spec = ModelSpec(found, Head(), imagenet_classes(), found.preprocessing.at(int(size)), precision)
            net = backend.build(spec)
            arrays = arrays or random_weights(net.shapes())
            Path(out, f"{model}.json").write_text(json.dumps(net.shapes(), sort_keys=True))
            net.write(arrays)
            outputs = net.block_outputs(images)
            np.savez(Path(out, f"{model}-{precision}.npz"), **outputs)
            if precision == "fp64" and net.card.family in EXPLAINED:
                found = net.explain(images, [3, 5])
                np.savez(Path(out, f"{model}-explained.npz"), raw=found.raw, maps=found.maps, block=found.block)
            if model in tiny_timm.STEPPED and precision == "fp64":
                np.savez(Path(out, f"{model}-step.npz"), **step(net, images))
            if model in tiny_timm.ADAPTED and precision == "fp64":
                np.savez(Path(out, f"{model}-lora.npz"), **adapted(net, images))
            del net


if __name__ == "__main__":
    main(*sys.argv[1:])
