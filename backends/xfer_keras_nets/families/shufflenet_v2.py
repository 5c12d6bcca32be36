"""ShuffleNet v2, torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import conv, depthwise, global_average, max_pool, norm, relu


def shufflenet_v2(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Ma et al. 2018 (arXiv:1807.11164)."""
    x = relu(norm(conv(x, "conv1.0", card.config["stem"], 3, 2, pad=1), "conv1.1", card), "conv1.2")
    yield "stem", (x := max_pool(x, "maxpool", 3, 2, pad=1))
    for stage, (width, repeats) in enumerate(zip(card.config["widths"], card.config["repeats"], strict=True), 2):
        for i in range(repeats):
            x = unit(x, f"stage{stage}.{i}", width // 2, 2 if i == 0 else 1, card)
        yield f"stage{stage}", x
    x = relu(norm(conv(x, "conv5.0", card.config["top"], 1), "conv5.1", card), "conv5.2")
    yield "top", x
    yield "features", global_average(x)


def unit(x: Any, name: str, width: int, stride: int, card: Card) -> Any:
    """Half the channels pass through (or are halved in resolution), half are filtered; then the halves are shuffled."""
    if stride == 1:
        left, right = x[..., :width], x[..., width:]
    else:
        left, right = x, x
        left = norm(depthwise(left, f"{name}.branch1.0", 3, 2, pad=1), f"{name}.branch1.1", card)
        left = norm(conv(left, f"{name}.branch1.2", width, 1), f"{name}.branch1.3", card)
        left = relu(left, f"{name}.branch1.4")
    right = relu(norm(conv(right, f"{name}.branch2.0", width, 1), f"{name}.branch2.1", card), f"{name}.branch2.2")
    right = norm(depthwise(right, f"{name}.branch2.3", 3, stride, pad=1), f"{name}.branch2.4", card)
    right = relu(norm(conv(right, f"{name}.branch2.5", width, 1), f"{name}.branch2.6", card), f"{name}.branch2.7")
    # Channels of the halves alternate: (2, width) turned into (width, 2).
    halves = layers.Concatenate(name=f"{name}.concat")([left, right])
    height, columns = halves.shape[1:3]
    halves = layers.Reshape((height, columns, 2, width), name=f"{name}.halves")(halves)
    halves = layers.Permute((1, 2, 4, 3), name=f"{name}.shuffle")(halves)
    return layers.Reshape((height, columns, 2 * width), name=f"{name}.out")(halves)
