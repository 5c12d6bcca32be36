"""EfficientNet-Lite under timm's layer names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, depthwise, global_average, norm, relu6


def efficientnet_lite(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """EfficientNet-Lite (github.com/tensorflow/tpu, models/official/efficientnet/lite), ReLU6, "same" padding."""
    x = conv(x, "conv_stem", card.config["stem"], 3, 2, pad="same")
    yield "stem", (x := relu6(norm(x, "bn1", card), "act1"))
    for stage, (expansion, width, repeats, stride, kernel) in enumerate(card.config["stages"]):
        for i in range(repeats):
            name = f"blocks.{stage}.{i}"
            x = inverted_residual(x, name, width, expansion, stride if i == 0 else 1, kernel, card)
        yield f"stage{stage}", x
    x = conv(x, "conv_head", card.config["top"], 1)
    yield "top", (x := relu6(norm(x, "bn2", card), "act2"))
    yield "features", global_average(x)


def inverted_residual(x: Any, name: str, width: int, expansion: int, stride: int, kernel: int, card: Card) -> Any:
    """Expand, filter each channel, project; added to the input where shapes agree (Sandler et al. 2018)."""
    y, bn = x, 1
    if expansion > 1:
        y = conv(y, f"{name}.conv_pw", expansion * x.shape[-1], 1)
        y = relu6(norm(y, f"{name}.bn1", card), f"{name}.act1")
        bn = 2
    y = depthwise(y, f"{name}.conv_dw", kernel, stride, pad="same")
    y = relu6(norm(y, f"{name}.bn{bn}", card), f"{name}.act{bn}")
    y = conv(y, f"{name}.conv_pwl" if expansion > 1 else f"{name}.conv_pw", width, 1)
    y = norm(y, f"{name}.bn{bn + 1}", card)
    if stride == 1 and x.shape[-1] == width:
        y = layers.Add(name=f"{name}.add")([y, x])
    return y
