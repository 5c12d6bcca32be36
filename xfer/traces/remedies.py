"""The line of code that makes the second run as the first, in the words of its framework."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

ACTIVATION_LINES = {
    "gelu": ("nn.GELU()", "keras.activations.gelu"),
    "gelu_tanh": ('nn.GELU(approximate="tanh")', "lambda x: keras.activations.gelu(x, approximate=True)"),
    "relu": ("nn.ReLU()", '"relu"'),
    "relu6": ("nn.ReLU6()", '"relu6"'),
    "silu": ("nn.SiLU()", '"silu"'),
}


def padding(keras: bool, config: Config) -> str:
    """Of a convolution or pooling."""
    pads = [tuple(p) for p in config["padding"]]
    if keras:
        return f"keras.layers.ZeroPadding2D({tuple(pads)}) before the layer, which has padding='valid'"
    if all(low == high for low, high in pads):
        return f"padding={tuple(low for low, _ in pads)}"
    (top, bottom), (left, right) = pads[0], pads[-1]
    return f"x = F.pad(x, ({left}, {right}, {top}, {bottom})) before the layer, which has padding=0"


def eps(keras: bool, value: float) -> str:
    """Of a normalisation."""
    return f"epsilon={value:g}" if keras else f"eps={value:g}"


def activation(keras: bool, config: Config) -> str:
    """Of an activation."""
    name = config.get("name", "?")
    line = ACTIVATION_LINES.get(name, (f"the activation {name}",) * 2)[keras]
    slope = config.get("slope")
    return line if slope is None else f"{name} with slope {slope:g}"


def norm_mode(keras: bool, batch: bool) -> str:
    """Of batch normalisation."""
    if keras:
        return "layer.trainable = True, and training=True" if batch else "layer.trainable = False"
    return "layer.train()" if batch else "layer.eval() after each model.train()"


def dropout(keras: bool, config: Config) -> str:
    """Of dropout."""
    if not config["active"]:
        return "training=False for the layer, or rate=0" if keras else "layer.eval(), or p=0"
    return f"{'rate' if keras else 'p'}={config['rate']:g}, in training mode"


def norm_momentum(keras: bool, momentum: float) -> str:
    """Of running statistics; the momentum is PyTorch's."""
    return f"momentum={1 - momentum:.6g}  # 1 - {momentum:.6g}" if keras else f"momentum={momentum:.6g}"


def frozen(keras: bool, trained: bool) -> str:
    """Of a tensor that only one run trains."""
    if keras:
        return f"layer.trainable = {trained}, before compile"
    end = " and give it to the optimizer" if trained else ""
    return f"parameter.requires_grad_({trained}){end}"
