"""The networks of keras.applications, whose weights need another net, layout or preprocessing than torchvision's.

ResNet has its stride in the first convolution of a bottleneck and biases everywhere (v1); Inception v3 averages without
the padding; MobileNets pad as TensorFlow does; VGG and DenseNet are torchvision's with other constants. Networks
trained on BGR get RGB here: the first convolution is turned instead, and "minus the mean" becomes a mean and a standard
deviation of 1 / 255.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xfer.specs.preprocessing import Preprocessing
from xfer.weights.entry import WeightsEntry
from xfer.zoo import densenet, inception, mobilenet_v2, resnet, vgg
from xfer.zoo.card import Card

Arrays = Mapping[str, np.ndarray]
_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
_SUFFIX = "_weights_tf_dim_ordering_tf_kernels.h5"


def layers_of(arrays: Arrays) -> dict[str, list[np.ndarray]]:
    """Weights by layer, from the names `layer/0`, `layer/1` of `xfer.weights.read_h5`."""
    layers: dict[str, list[np.ndarray]] = {}
    for name, array in arrays.items():
        layers.setdefault(name.rpartition("/")[0], []).append(array)
    return layers


def torch_layout(name: str, weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a Keras layer under torch's names and in torch's layouts; a missing gamma is ones.

    Raises:
        ValueError: no convolution, dense layer or normalisation.
    """
    if all(array.ndim == 1 for array in weights) and len(weights) == 2:
        return {f"{name}.weight": weights[0], f"{name}.bias": weights[1]}  # of a layer normalisation
    if all(array.ndim == 1 for array in weights):
        gamma = [] if len(weights) == 4 else [np.ones_like(weights[0])]
        roles = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{role}": array for role, array in zip(roles, [*gamma, *weights], strict=True)}
    kernel, *bias = weights
    if kernel.ndim not in (2, 4) or len(bias) > 1:
        raise ValueError(f"{name} has weights of the shapes {[array.shape for array in weights]}")
    if kernel.ndim == 4:
        kernel = kernel.transpose((2, 3, 0, 1) if kernel.shape[3] == 1 else (3, 2, 0, 1))
    else:
        kernel = kernel.T
    return {f"{name}.weight": np.ascontiguousarray(kernel)} | ({f"{name}.bias": bias[0]} if bias else {})


def renamed(rename: Callable[[str], str]) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """A conversion by the names of layers."""

    def convert(arrays: Arrays) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for layer, weights in layers_of(arrays).items():
            found |= torch_layout(rename(layer), weights)
        return found

    return convert


def turned(convert: Callable[[Arrays], dict[str, np.ndarray]], first: str) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """A conversion of a network for BGR, to RGB."""

    def to_rgb(arrays: Arrays) -> dict[str, np.ndarray]:
        found = convert(arrays)
        if first in found:
            found[first] = np.ascontiguousarray(found[first][:, ::-1])
        return found

    return to_rgb


def _resnet_layer(name: str) -> str:
    if match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", name):
        stage, block, place, kind = int(match[1]) - 1, int(match[2]) - 1, int(match[3]), match[4]
        part = f"downsample.{0 if kind == 'conv' else 1}" if place == 0 else f"{kind}{place}"
        return f"layer{stage}.{block}.{part}"
    return {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}.get(name, name)


def _densenet_layer(name: str) -> str:
    if match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", name):
        part = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}[f"{match[3]}_{match[4]}"]
        return f"features.denseblock{int(match[1]) - 1}.denselayer{match[2]}.{part}"
    if match := re.fullmatch(r"pool(\d)_(conv|bn)", name):
        return f"features.transition{int(match[1]) - 1}.{'conv' if match[2] == 'conv' else 'norm'}"
    outer = {"conv1_conv": "conv0", "conv1_bn": "norm0", "conv1/conv": "conv0", "conv1/bn": "norm0", "bn": "norm5"}
    if name in outer:
        return f"features.{outer[name]}"
    return {"fc1000": "classifier", "predictions": "classifier"}.get(name, name)


def _vgg(card: Card) -> Callable[[Arrays], dict[str, np.ndarray]]:
    convolutions = [name for layers in list(card.blocks.values())[:-1] for name in layers]
    keras = [f"block{b}_conv{i + 1}" for b, count in enumerate(card.config["repeats"], 1) for i in range(count)]
    names = dict(zip(keras, convolutions, strict=True))
    names |= {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
    convert = renamed(lambda layer: names.get(layer, layer))

    def channels_first(arrays: Arrays) -> dict[str, np.ndarray]:
        """Keras flattens (H, W, C), torch (C, H, W)."""
        found = convert(arrays)
        if (first := found.get("classifier.0.weight")) is not None:
            turned = first.reshape(len(first), 7, 7, -1).transpose(0, 3, 1, 2)
            found["classifier.0.weight"] = np.ascontiguousarray(turned.reshape(len(first), -1))
        return found

    return channels_first


def _mixed(name: str) -> list[str]:
    """The convolutions of an inception module in the order in which Keras makes them."""
    double3 = [f"branch3x3dbl_{i}" for i in (1, 2, 3)]
    parts = {
        "5": ["branch1x1", "branch5x5_1", "branch5x5_2", *double3, "branch_pool"],
        "6a": ["branch3x3", *double3],
        "6": [
            "branch1x1",
            *(f"branch7x7_{i}" for i in (1, 2, 3)),
            *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)),
            "branch_pool",
        ],
        "7a": ["branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4))],
        "7": [
            *("branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b"),
            *("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"),
        ],
    }
    place = name.removeprefix("Mixed_")
    return [f"{name}.{part}" for part in parts.get(place, parts[place[0]])]


def _inception(card: Card) -> Callable[[Arrays], dict[str, np.ndarray]]:
    """Keras numbers its convolutions and norms as it makes them, on and on in one process."""
    modules = [name for block in ("mixed5", "mixed6", "mixed7") for name in card.blocks[block] if "Mixed" in name]
    order = [*card.blocks["stem"], *(part for module in modules for part in _mixed(module))]

    def convert(arrays: Arrays) -> dict[str, np.ndarray]:
        layers = layers_of(arrays)
        found: dict[str, np.ndarray] = {}
        for kind, part in (("conv2d", "conv"), ("batch_normalization", "bn")):
            numbered = sorted((n for n in layers if re.fullmatch(rf"{kind}(_\d+)?", n)), key=_number)
            for name, layer in zip(order, numbered, strict=False):
                found |= torch_layout(f"{name}.{part}", layers[layer])
        return found | (torch_layout("fc", layers["predictions"]) if "predictions" in layers else {})

    return convert


def _number(layer: str) -> int:
    number = re.search(r"_(\d+)$", layer)
    return int(number[1]) if number else 0


def _mobilenet_v2_layer(name: str) -> str:
    if match := re.fullmatch(r"(?:block_(\d+)|expanded_conv)_(expand|depthwise|project)(_BN)?", name):
        index = int(match[1] or 0)
        inner = {"expand": "0", "depthwise": "1", "project": "2"}
        outer = {"depthwise": "0", "project": "1"}
        place = (inner if index else outer)[match[2]]
        norm = 1 if match[3] else 0
        part = str(int(place) + norm) if match[2] == "project" else f"{place}.{norm}"
        return f"features.{index + 1}.conv.{part}"
    first, last = {"Conv1": "features.0.0", "bn_Conv1": "features.0.1"}, {"Conv_1": "features.18.0"}
    return {**first, **last, "Conv_1_bn": "features.18.1", "predictions": "classifier.1"}.get(name, name)


def _card(
    base: Card,
    name: str,
    convert: Callable[[Arrays], dict[str, np.ndarray]],
    scheme: str,
    acc1: float,
    entry: tuple[str, str] | None,
    parameters: int | None = None,
    **changes: Any,
) -> Card:
    """A card of torchvision's changed to what Keras has; `scheme` is Keras's name of a preprocessing."""
    size = base.preprocessing.size
    mean, std = _NORMALISATION[scheme]
    weights = () if entry is None else (WeightsEntry("KERAS", f"{_URL}/{entry[0]}", f"md5:{entry[1]}", acc1=acc1),)
    return replace(
        base,
        name=f"keras_{name}",
        preprocessing=Preprocessing(size, round(size / 0.875), "bilinear", mean=mean, std=std),
        weights=weights,
        variants={},
        convert=convert,
        rename=None,
        auxiliary=(),
        parameters=parameters or base.parameters,
        source=f"https://keras.io/api/applications/ ({base.source})",
        **changes,
    )


Triple = tuple[float, float, float]
_NORMALISATION: dict[str, tuple[Triple, Triple]] = {
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
    "tf": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "torch": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_TV = {c.name: c for family in (resnet, vgg, densenet, inception, mobilenet_v2) for c in family.CARDS}


def _resnets() -> Iterable[Card]:
    for depth, acc1, md5, parameters in (
        (50, 74.9, "2cb95161c43110f7111970584f804107", 25_583_592),
        (101, 76.4, "f1aeb4b969a6efcfb50fad2f0c20cfc5", 44_601_832),
        (152, 76.6, "100835be76be38e30d865e96f2aaae62", 60_268_520),
    ):
        base = _TV[f"resnet{depth}"]
        convert = turned(renamed(_resnet_layer), "conv1.weight")
        entry = (f"resnet/resnet{depth}{_SUFFIX}", md5)
        config = {**base.config, "v1": True}
        yield _card(
            *(base, base.name, convert, "caffe", acc1, entry, parameters),
            config=config,
            norm_eps=1.001e-5,
            norm_momentum=0.01,
        )


def _vggs() -> Iterable[Card]:
    for depth, md5 in ((16, "64373286793e3c8b2b4e3219cbf3544b"), (19, "cbe5617147190e668d6c5d5026f83318")):
        base = _TV[f"vgg{depth}"]
        entry = (f"vgg{depth}/vgg{depth}{_SUFFIX}", md5)
        yield _card(base, base.name, turned(_vgg(base), "features.0.weight"), "caffe", 71.3, entry)


def _densenets() -> Iterable[Card]:
    for depth, acc1, md5 in (
        (121, 75.0, "9d60b8095a5708f2dcce2bca79d332c7"),
        (169, 76.2, "d699b8f76981ab1b30698df4c175e90b"),
        (201, 77.3, "1ceb130c1ea1b78c3bf6114dbdfd8807"),
    ):
        base = _TV[f"densenet{depth}"]
        entry = (f"densenet/densenet{depth}{_SUFFIX}", md5)
        convert = renamed(_densenet_layer)
        yield _card(base, base.name, convert, "torch", acc1, entry, norm_eps=1.001e-5, norm_momentum=0.01)


_INCEPTION = _TV["inception_v3"]
CARDS = (
    *_resnets(),
    *_vggs(),
    *_densenets(),
    _card(
        _INCEPTION,
        "inception_v3",
        _inception(_INCEPTION),
        "tf",
        77.9,
        (f"inception_v3/inception_v3{_SUFFIX}", "9a0d58056eeedaa3f26cb7ebd46da564"),
        23_834_568,
        config={**_INCEPTION.config, "exclude_pad": True},
        norm_momentum=0.01,
    ),
    # Keras publishes no checksum of these files, and what can't be verified isn't fetched: give their path.
    _card(
        *(_TV["mobilenet_v2"], "mobilenet_v2", renamed(_mobilenet_v2_layer), "tf", 71.3, None),
        config={**_TV["mobilenet_v2"].config, "pad": "same"},
        norm_eps=1e-3,
        norm_momentum=0.001,
    ),
)
