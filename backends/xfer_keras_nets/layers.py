"""Layers with torch's semantics, under canonical names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from xfer.zoo import Card
from xfer_keras_nets.layout import Tensor
from xfer_keras_nets.shares import moments

Activation = Callable[[Any, str], Any]
Padding = int | tuple[int, int] | Literal["same"]
_habit: ContextVar[str | None] = ContextVar("padding", default=None)


@keras.saving.register_keras_serializable("xfer")
class BatchNorm(layers.BatchNormalization):
    """Batch normalisation with torch's running statistics.

    `running = (1 - update) * running + update * batch`, the variance unbiased (n / (n - 1)), where Keras would
    keep the biased one. Normalisation itself uses the biased variance of the batch, as in both frameworks. A batch
    that several processes share is normalised as a whole.

    Args:
        update: torch's momentum, one minus Keras's.
        epsilon: added to the variance.
    """

    def __init__(self, update: float, epsilon: float, **options: Any) -> None:
        super().__init__(**(options | {"momentum": 1.0 - update, "epsilon": epsilon}))
        self.update = update
        self.biased = False  # Keras's running variance, which `numerics` may ask for

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "update": self.update}

    def call(self, inputs: Any, training: bool = False, mask: Any = None) -> Any:
        """(..., C) to (..., C); statistics change only if the layer is trainable and in training."""
        if not (training and self.trainable):
            return super().call(inputs, training=False)
        x = ops.cast(inputs, self.moving_mean.dtype)
        mean, variance, count = moments(x)
        kept = variance if self.biased else variance * (count / (count - 1))
        self.moving_mean.assign(self.moving_mean * (1 - self.update) + mean * self.update)
        self.moving_variance.assign(self.moving_variance * (1 - self.update) + kept * self.update)
        scaled = ops.batch_normalization(x, mean, variance, -1, self.beta, self.gamma, self.epsilon)
        return ops.cast(scaled, self.compute_dtype)


def unsynchronised(tensors: Mapping[str, Tensor], names: Iterable[str]) -> list[str]:
    """Those of the layers with running statistics in which processes would see each its share of a batch."""
    known = (BatchNorm.call, layers.BatchNormalization.call)  # and no other of a class that is derived from one
    found = {name: tensors[f"{name}.running_mean"].layer for name in names}
    return [name for name, layer in found.items() if type(layer).call not in known]


@keras.saving.register_keras_serializable("xfer")
class AdaptiveAveragePooling(layers.Layer):
    """torch.nn.AdaptiveAvgPool2d: bin i of n covers pixels floor(i * size / n) to ceil((i + 1) * size / n)."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C) to (N, size, size, C)."""
        rows, columns = (
            ops.convert_to_tensor(_bins(n, self.size), dtype=self.compute_dtype) for n in inputs.shape[1:3]
        )
        return ops.einsum("ih,jw,nhwc->nijc", rows, columns, inputs)

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "size": self.size}

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.size, self.size, input_shape[3])


def _bins(pixels: int, size: int) -> np.ndarray:
    weights = np.zeros((size, pixels))
    for i in range(size):
        start, stop = i * pixels // size, -(-(i + 1) * pixels // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


@keras.saving.register_keras_serializable("xfer")
class Scale(layers.Layer):
    """Channels times a learned factor each: `layer_scale` (C, 1, 1), as torchvision keeps it."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.factor = self.add_weight(name="layer_scale", shape=(input_shape[-1], 1, 1))

    def call(self, inputs: Any) -> Any:
        """(..., C) to (..., C)."""
        return inputs * ops.reshape(self.factor, (-1,))


@keras.saving.register_keras_serializable("xfer")
class LayerScale(layers.Layer):
    """Channels times a learned factor each: `gamma` (C,), as timm keeps it."""

    names_are_torchs = True  # `gamma` is not that of a normalisation

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.factor = self.add_weight(name="gamma", shape=(input_shape[-1],))

    def call(self, inputs: Any) -> Any:
        """(..., C) to (..., C)."""
        return inputs * self.factor


@keras.saving.register_keras_serializable("xfer")
class GlobalResponseNorm(layers.Layer):
    """Channels times their share in the response of the whole map (Woo et al. 2023, arXiv:2301.00808)."""

    def __init__(self, epsilon: float = 1e-6, **options: Any) -> None:
        super().__init__(**options)
        self.epsilon = epsilon

    def get_config(self) -> dict[str, Any]:
        """What `keras.Model.save` writes."""
        return {**super().get_config(), "epsilon": self.epsilon}

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.factor = self.add_weight(name="weight", shape=(input_shape[-1],))
        self.offset = self.add_weight(name="bias", shape=(input_shape[-1],))

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C) to (N, H, W, C)."""
        squares = ops.sum(ops.square(inputs), axis=(1, 2), keepdims=True)
        # A channel of zeros has no gradient, as in torch; that of a square root would be infinite.
        response = ops.where(squares > 0, ops.sqrt(ops.where(squares > 0, squares, 1.0)), 0.0)
        share = response / (ops.mean(response, axis=-1, keepdims=True) + self.epsilon)
        return inputs + self.factor * (inputs * share) + self.offset


@keras.saving.register_keras_serializable("xfer")
def exact_gelu(x: Any) -> Any:
    """GELU to the last digit of x's dtype: `tf.nn.gelu` rounds its constant to float32 even for float64."""
    return 0.5 * x * (1.0 + ops.erf(x * 0.5**0.5))


@keras.saving.register_keras_serializable("xfer")
def approximate_gelu(x: Any) -> Any:
    """GELU by tanh, to the last digit of x's dtype (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    return 0.5 * x * (1.0 + ops.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


@keras.saving.register_keras_serializable("xfer")
def sigmoid_gelu(x: Any) -> Any:
    """x * sigmoid(1.702 x), OpenAI's approximation of GELU."""
    return x * ops.sigmoid(1.702 * x)


def conv(
    x: Any,
    name: str,
    width: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    pad: Padding = 0,
    bias: bool = False,
    groups: int = 1,
) -> Any:
    """A convolution; `pad` is torch's symmetric zero padding in pixels, or "same", TensorFlow's."""
    x, padding = _padded(x, name, kernel, stride, pad)
    return layers.Conv2D(width, kernel, stride, padding=padding, groups=groups, use_bias=bias, name=name)(x)


def depthwise(x: Any, name: str, kernel: int, stride: int = 1, *, pad: Padding = 0, bias: bool = False) -> Any:
    """A convolution of each channel by itself; `pad` as in `conv`."""
    x, padding = _padded(x, name, kernel, stride, pad)
    return layers.DepthwiseConv2D(kernel, stride, padding=padding, use_bias=bias, name=name)(x)


@contextmanager
def padded_as(habit: str | None) -> Iterator[None]:
    """Have convolutions with a stride padded "symmetric" or "same"; None for as the network has it."""
    token = _habit.set(habit)
    try:
        yield
    finally:
        _habit.reset(token)


def _padded(x: Any, name: str, kernel: int | tuple[int, int], stride: int, pad: Padding) -> tuple[Any, str]:
    if (habit := _habit.get()) and isinstance(kernel, int):
        half = kernel // 2
        if stride > 1 and kernel % 2 and pad in ("same", half) and half:
            pad = "same" if habit == "same" else half
    if pad == "same":
        return x, "same"
    return (layers.ZeroPadding2D(pad, name=f"{name}.pad")(x) if pad else x), "valid"


def conv_norm(
    x: Any, name: str, width: int, kernel: int, stride: int = 1, *, card: Card, act: Activation | None, groups: int = 1
) -> Any:
    """torchvision's Conv2dNormActivation: `name.0` without bias and padded by half a kernel, `name.1`, `name.2`."""
    if groups == x.shape[-1] == width > 1:
        x = depthwise(x, f"{name}.0", kernel, stride, pad=kernel // 2)
    else:
        x = conv(x, f"{name}.0", width, kernel, stride, pad=kernel // 2, groups=groups)
    x = norm(x, f"{name}.1", card)
    return act(x, f"{name}.2") if act else x


def squeeze_excite(
    x: Any, name: str, width: int, act: Activation, gate: Activation, fc: tuple[str, str] = ("fc1", "fc2")
) -> Any:
    """Channels weighted by what is in the image as a whole (Hu et al. 2017, arXiv:1709.01507); `fc`: its layers."""
    y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}.avgpool")(x)
    y = act(conv(y, f"{name}.{fc[0]}", width, 1, bias=True), f"{name}.activation")
    y = gate(conv(y, f"{name}.{fc[1]}", x.shape[-1], 1, bias=True), f"{name}.scale_activation")
    return layers.Multiply(name=name)([x, y])


def stochastic_depth(x: Any, name: str, rate: float) -> Any:
    """A residual branch left out for `rate` of the images while training (Huang et al. 2016, arXiv:1603.09382)."""
    if not rate:
        return x
    return layers.Dropout(rate, noise_shape=(None, *(1 for _ in x.shape[1:])), name=f"{name}.stochastic_depth")(x)


def dropout(x: Any, name: str) -> Any:
    """Dropout, whose rate is set by `DropRates`."""
    return layers.Dropout(0.5, name=name)(x)


def basic_conv(
    x: Any,
    name: str,
    width: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    *,
    pad: int | tuple[int, int] = 0,
    card: Card,
) -> Any:
    """torchvision's BasicConv2d: `name.conv` without bias, `name.bn`, ReLU."""
    return relu(norm(conv(x, f"{name}.conv", width, kernel, stride, pad=pad), f"{name}.bn", card), f"{name}.relu")


def max_pool(x: Any, name: str, kernel: int, stride: int, pad: int = 0, *, ceil: bool = False) -> Any:
    """Max-pooling. Padding with zeros is torch's padding with -inf here, because `x` comes out of a ReLU.

    `ceil`: a last window that only begins inside the picture counts too.
    """
    if ceil:
        height, width = (-(side - kernel) % stride for side in x.shape[1:3])
        if height or width:
            x = layers.ZeroPadding2D(((0, height), (0, width)), name=f"{name}.pad")(x)
    elif pad:
        x = layers.ZeroPadding2D(pad, name=f"{name}.pad")(x)
    return layers.MaxPooling2D(kernel, stride, name=name)(x)


def average_pool(x: Any, name: str, kernel: int, stride: int, pad: Padding = 0) -> Any:
    """Average pooling that counts the padding's zeros, as torch does; with "same", as TensorFlow does, it doesn't."""
    if pad == "same":
        return layers.AveragePooling2D(kernel, stride, padding="same", name=name)(x)
    if pad:
        x = layers.ZeroPadding2D(pad, name=f"{name}.pad")(x)
    return layers.AveragePooling2D(kernel, stride, name=name)(x)


def norm(x: Any, name: str, card: Card) -> Any:
    """Batch normalisation with the constants of a card."""
    return BatchNorm(card.norm_momentum, card.norm_eps, name=name)(x)


def layer_norm(x: Any, name: str, eps: float) -> Any:
    """Normalisation of each pixel or token over its channels."""
    return layers.LayerNormalization(epsilon=eps, name=name)(x)


def relu(x: Any, name: str) -> Any:
    """max(x, 0)."""
    return layers.ReLU(name=name)(x)


def relu6(x: Any, name: str) -> Any:
    """min(max(x, 0), 6)."""
    return layers.ReLU(6.0, name=name)(x)


def silu(x: Any, name: str) -> Any:
    """x * sigmoid(x)."""
    return layers.Activation("silu", name=name)(x)


def sigmoid(x: Any, name: str) -> Any:
    """1 / (1 + exp(-x))."""
    return layers.Activation("sigmoid", name=name)(x)


def hard_sigmoid(x: Any, name: str) -> Any:
    """min(max(x + 3, 0), 6) / 6."""
    return layers.Activation("hard_sigmoid", name=name)(x)


def hard_swish(x: Any, name: str) -> Any:
    """x * hard_sigmoid(x)."""
    return layers.Activation("hard_silu", name=name)(x)


def gelu(x: Any, name: str) -> Any:
    """x times the normal distribution's probability below x, not its approximation by tanh."""
    return layers.Activation(exact_gelu, name=name)(x)


def gelu_tanh(x: Any, name: str) -> Any:
    """GELU's approximation by tanh."""
    return layers.Activation(approximate_gelu, name=name)(x)


def quick_gelu(x: Any, name: str) -> Any:
    """GELU's approximation by a sigmoid, which OpenAI's CLIP has."""
    return layers.Activation(sigmoid_gelu, name=name)(x)


def global_average(x: Any) -> Any:
    """(N, H, W, C) to (N, C)."""
    return layers.GlobalAveragePooling2D(name="avgpool")(x)


def flatten(x: Any, name: str = "flatten") -> Any:
    """(N, H, W, C) to (N, C * H * W), channels first as in torch, so that a dense weight moves by a transposition."""
    return layers.Flatten(name=f"{name}.flatten")(layers.Permute((3, 1, 2), name=f"{name}.channels_first")(x))
