"""Blocks of mobile networks in the notation of timm's `_efficientnet_builder`: "ir_r2_k3_s2_e6_c24_se0.25"."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Block(NamedTuple):
    """One block of a stage.

    Args:
        kind: "cn" (convolution), "ds" (depthwise separable convolution), "ir" (inverted residual), "er" (inverted
            residual whose expansion is a dense convolution), "uir" (universal inverted bottleneck, arXiv:2404.10518)
            or "mqa" (multi-query attention).
        width: output channels.
        kernel: of the convolution; of a "uir" that of the depthwise convolution in the middle, 0 for none.
        stride: of it, or of `start` if there is none in the middle.
        expansion: hidden channels for each input channel.
        squeeze: channels inside squeeze-and-excitation for each input channel; 0 is without.
        start: kernel of a depthwise convolution before the expansion of a "uir"; 0 for none.
        heads, key: number of heads of "mqa", and channels of each.
        key_stride: of the depthwise convolution before its keys and values; 1 is without.
        skip: whether a "cn" is added to its input where shapes agree; the others are.
    """

    kind: str
    width: int
    kernel: int
    stride: int = 1
    expansion: int = 1
    squeeze: float = 0.0
    start: int = 0
    heads: int = 0
    key: int = 0
    key_stride: int = 1
    skip: bool = True

    def residual(self, width: int) -> bool:
        """Whether it is added to its input, which has `width` channels."""
        return self.skip and self.stride == 1 and self.width == width

    def squeezed(self, width: int) -> int:
        """Channels inside squeeze-and-excitation, for an input of `width` channels; 0 is without."""
        return round(width * self.squeeze)


Stages = tuple[tuple[Block, ...], ...]
_FIELDS = {"c": "width", "k": "kernel", "s": "stride", "e": "expansion", "a": "start"}
_FIELDS |= {"h": "heads", "d": "key", "v": "key_stride"}


def stages(strings: Sequence[Sequence[str]]) -> Stages:
    """The blocks of each stage; of a repeated block only the first has a stride.

    Args:
        strings: of timm, with its multipliers of width and depth applied.
    """
    return tuple(tuple(block for string in stage for block in _repeated(string)) for stage in strings)


def _repeated(string: str) -> tuple[Block, ...]:
    kind, *options = string.split("_")
    found: dict[str, Any] = {"skip": kind != "cn"}
    repeats = 1
    for option in options:
        match = re.fullmatch(r"([a-z]+)([\d.]*)", option)
        assert match, string
        name, value = match.groups()
        if name == "skip":
            found["skip"] = True
        elif name == "se":
            found["squeeze"] = float(value)
        elif name == "r":
            repeats = int(value)
        else:
            found[_FIELDS[name]] = int(value)
    return repeated(Block(kind, **found), repeats)


def repeated(first: Block, count: int) -> tuple[Block, ...]:
    """A block so many times; only the first has its stride."""
    return (first, *(first._replace(stride=1) for _ in range(count - 1)))


def config(
    stages: Stages, stem: int, top: int, activation: str, padding: str = "same", layer_scale: bool = False
) -> dict[str, Any]:
    """What the builders need.

    Args:
        stages: blocks of each.
        stem, top: channels of the first and of the last convolution.
        activation: "relu", "relu6", "silu" or "gelu".
        padding: "same" is TensorFlow's, which depends on the input size; "symmetric" is torch's, half a kernel.
        layer_scale: whether "uir" and "mqa" are scaled by channel before they are added.
    """
    return {
        "stages": stages,
        "stem": stem,
        "top": top,
        "activation": activation,
        "padding": padding,
        "layer_scale": layer_scale,
    }


def timm_config(arguments: Mapping[str, Any], padding: str) -> dict[str, Any]:
    """`config` from the arguments of timm's `EfficientNet` or `MobileNetV3`.

    Args:
        arguments: `stages` (strings), `stem_size`, `num_features`, `act`, and `init_values` where channels are scaled.
        padding: see `config`.
    """
    return config(
        stages(arguments["stages"]),
        arguments["stem_size"],
        arguments["num_features"],
        arguments["act"],
        padding,
        "init_values" in arguments,
    )
