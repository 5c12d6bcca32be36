"""Inception v3, torchvision's; and Keras's, which leaves the padding out of averages."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from keras import layers

from xfer.zoo import Card
from xfer_keras_nets.layers import average_pool, basic_conv, global_average, max_pool

# Kernels along a row and along a column, with the padding that keeps the size.
ROW7: dict[str, Any] = {"kernel": (1, 7), "pad": (0, 3)}
COLUMN7: dict[str, Any] = {"kernel": (7, 1), "pad": (3, 0)}
ROW3: dict[str, Any] = {"kernel": (1, 3), "pad": (0, 1)}
COLUMN3: dict[str, Any] = {"kernel": (3, 1), "pad": (1, 0)}


def inception(x: Any, card: Card) -> Iterator[tuple[str, Any]]:
    """Szegedy et al. 2015 (arXiv:1512.00567)."""
    conv = partial(basic_conv, card=card)
    pad = "same" if card.config.get("exclude_pad") else 1
    x = conv(conv(x, "Conv2d_1a_3x3", 32, 3, 2), "Conv2d_2a_3x3", 32, 3)
    x = max_pool(conv(x, "Conv2d_2b_3x3", 64, 3, pad=1), "maxpool1", 3, 2)
    x = max_pool(conv(conv(x, "Conv2d_3b_1x1", 80, 1), "Conv2d_4a_3x3", 192, 3), "maxpool2", 3, 2)
    yield "stem", x
    for name, width in (("b", 32), ("c", 64), ("d", 64)):
        x = mixed_a(x, f"Mixed_5{name}", width, conv, pad)
    yield "mixed5", x
    x = mixed_b(x, "Mixed_6a", conv)
    for name, width in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
        x = mixed_c(x, f"Mixed_6{name}", width, conv, pad)
    yield "mixed6", x
    for auxiliary in card.auxiliary:
        y = conv(average_pool(x, "AuxLogits.pool", 5, 3), "AuxLogits.conv0", 128, 1)
        y = conv(y, "AuxLogits.conv1", 768, 5)
        yield auxiliary.name, layers.GlobalAveragePooling2D(name="AuxLogits.avgpool")(y)
    x = mixed_d(x, "Mixed_7a", conv)
    yield "mixed7", (x := mixed_e(mixed_e(x, "Mixed_7b", conv, pad), "Mixed_7c", conv, pad))
    yield "features", global_average(x)


def mixed_a(x: Any, name: str, pooled: int, conv: Any, pad: Any) -> Any:
    """1x1, 5x5, two 3x3 and a pool, side by side (the paper's figure 5)."""
    wide = conv(conv(x, f"{name}.branch5x5_1", 48, 1), f"{name}.branch5x5_2", 64, 5, pad=2)
    double = conv(conv(x, f"{name}.branch3x3dbl_1", 64, 1), f"{name}.branch3x3dbl_2", 96, 3, pad=1)
    double = conv(double, f"{name}.branch3x3dbl_3", 96, 3, pad=1)
    pool = conv(average_pool(x, f"{name}.pool", 3, 1, pad=pad), f"{name}.branch_pool", pooled, 1)
    return layers.Concatenate(name=name)([conv(x, f"{name}.branch1x1", 64, 1), wide, double, pool])


def mixed_b(x: Any, name: str, conv: Any) -> Any:
    """Half the resolution: a 3x3, two 3x3 and a pool (figure 10)."""
    double = conv(conv(x, f"{name}.branch3x3dbl_1", 64, 1), f"{name}.branch3x3dbl_2", 96, 3, pad=1)
    double = conv(double, f"{name}.branch3x3dbl_3", 96, 3, 2)
    branches = [conv(x, f"{name}.branch3x3", 384, 3, 2), double, max_pool(x, f"{name}.pool", 3, 2)]
    return layers.Concatenate(name=name)(branches)


def mixed_c(x: Any, name: str, width: int, conv: Any, pad: Any) -> Any:
    """1x1, a 7x7 and two 7x7 as rows and columns, and a pool (figure 6)."""
    single = conv(conv(x, f"{name}.branch7x7_1", width, 1), f"{name}.branch7x7_2", width, **ROW7)
    single = conv(single, f"{name}.branch7x7_3", 192, **COLUMN7)
    double = conv(x, f"{name}.branch7x7dbl_1", width, 1)
    for i, shape in enumerate((COLUMN7, ROW7, COLUMN7), 2):
        double = conv(double, f"{name}.branch7x7dbl_{i}", width, **shape)
    double = conv(double, f"{name}.branch7x7dbl_5", 192, **ROW7)
    pool = conv(average_pool(x, f"{name}.pool", 3, 1, pad=pad), f"{name}.branch_pool", 192, 1)
    return layers.Concatenate(name=name)([conv(x, f"{name}.branch1x1", 192, 1), single, double, pool])


def mixed_d(x: Any, name: str, conv: Any) -> Any:
    """Half the resolution: a 3x3, a 7x7 with a 3x3, and a pool."""
    small = conv(conv(x, f"{name}.branch3x3_1", 192, 1), f"{name}.branch3x3_2", 320, 3, 2)
    large = conv(conv(x, f"{name}.branch7x7x3_1", 192, 1), f"{name}.branch7x7x3_2", 192, **ROW7)
    large = conv(conv(large, f"{name}.branch7x7x3_3", 192, **COLUMN7), f"{name}.branch7x7x3_4", 192, 3, 2)
    return layers.Concatenate(name=name)([small, large, max_pool(x, f"{name}.pool", 3, 2)])


def mixed_e(x: Any, name: str, conv: Any, pad: Any) -> Any:
    """1x1, a 3x3 and two 3x3 that end in a row and a column, and a pool (figure 7)."""

    def split(y: Any, branch: str) -> Any:
        parts = [conv(y, f"{name}.{branch}a", 384, **ROW3), conv(y, f"{name}.{branch}b", 384, **COLUMN3)]
        return layers.Concatenate(name=f"{name}.{branch}")(parts)

    single = split(conv(x, f"{name}.branch3x3_1", 384, 1), "branch3x3_2")
    double = conv(conv(x, f"{name}.branch3x3dbl_1", 448, 1), f"{name}.branch3x3dbl_2", 384, 3, pad=1)
    double = split(double, "branch3x3dbl_3")
    pool = conv(average_pool(x, f"{name}.pool", 3, 1, pad=pad), f"{name}.branch_pool", 192, 1)
    return layers.Concatenate(name=name)([conv(x, f"{name}.branch1x1", 320, 1), single, double, pool])
