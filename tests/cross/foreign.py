"""A process of the test of foreign checkpoints: reads them with a backend; that of torch writes them before.

usage: python foreign.py BACKEND FOLDER
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import xfer

SIZE = 64
# The checkpoint, the architecture, and the options that it is loaded with.
FILES = {
    "references.pth": ("squeezenet1_1", {}),
    "lightning.ckpt": ("mobilenet_v3_small", {}),
    "fastai.pth": ("resnet18", {"classes": 3}),
    "timm/model.safetensors.index.json": ("resnet18", {"classes": 3}),
    "eva02_tiny_patch14_224.safetensors": ("eva02_tiny_patch14_224", {"classes": 3, "image_size": 56}),
    "mobilenetv4_conv_small_050.safetensors": ("mobilenetv4_conv_small_050", {}),
    "tf_efficientnet_b0.safetensors": ("tf_efficientnet_b0", {"classes": 3}),
}


def write(folder: Path) -> None:
    """Networks with random weights, as torchvision's references, Lightning, fastai and timm save them."""
    import timm
    import torch
    import torchvision
    from safetensors.torch import save_file

    from tests.cross.forward import random_weights

    def lively(net: torch.nn.Module) -> torch.nn.Module:
        found = random_weights({name: tuple(t.shape) for name, t in net.state_dict().items() if t.is_floating_point()})
        net.load_state_dict({name: torch.from_numpy(array) for name, array in found.items()}, strict=False)
        return net.eval()

    args = argparse.Namespace(output_dir=folder)
    net = lively(torchvision.models.squeezenet1_1(num_classes=5))
    average = torch.optim.swa_utils.AveragedModel(net).state_dict()
    state = torchvision.models.squeezenet1_1(num_classes=5).state_dict()
    torch.save({"model": state, "model_ema": average, "args": args}, folder / "references.pth")
    net = lively(torchvision.models.mobilenet_v3_small(num_classes=5)).half()
    state = {f"model.backbone.{name}": t for name, t in net.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"args": args}}, folder / "lightning.ckpt")
    net = lively(torchvision.models.resnet18())
    body = torch.nn.Sequential(torch.nn.Sequential(*list(net.children())[:-2]), torch.nn.Linear(512, 3))
    torch.save({"model": body.state_dict(), "opt": {}}, folder / "fastai.pth", pickle_protocol=2)
    state = lively(timm.create_model("resnet18")).state_dict()
    (folder / "timm").mkdir()
    places = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(state)}
    for file in set(places.values()):
        save_file({name: state[name] for name in places if places[name] == file}, folder / "timm" / file)
    index = json.dumps({"metadata": {}, "weight_map": places})
    (folder / "timm" / "model.safetensors.index.json").write_text(index)
    for file, (name, _) in FILES.items():
        if file == f"{name}.safetensors":
            save_file(lively(timm.create_model(name)).state_dict(), folder / file)


def read(backend: str, folder: Path) -> None:
    """The features of two images by each checkpoint, in float32."""
    if backend == "torch":
        write(folder)
    features = {}
    for file, (name, options) in FILES.items():
        options = {"image_size": SIZE, "precision": "fp32"} | options
        model = xfer.load(name, weights=folder / file, backend=backend, **options)
        size = options["image_size"]
        images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3)).astype(np.uint8)
        features[file] = model.outputs(images, ["features"])["features"]
    assert backend == "torch" or "torch" not in sys.modules
    np.savez(folder / f"{backend}.npz", **features)


if __name__ == "__main__":
    read(sys.argv[1], Path(sys.argv[2]))
