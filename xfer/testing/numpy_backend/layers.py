"""Layers with explicit forward and backward passes.

`forward(x, training)` keeps what `backward` needs; `backward(dy)` turns the loss's gradient with respect to the output
into that with respect to the input, and leaves the gradients of the layer's tensors in `grads`. Activations are
(N, H, W, C) or (N, D); tensors have torch's layouts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

Array = np.ndarray


class Layer(ABC):
    """A differentiable function of its input and of the tensors that it owns."""

    def __init__(self) -> None:
        self.tensors: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.live = True  # whether anything in the layer is trained; if not, it runs in inference mode

    @abstractmethod
    def forward(self, x: Array, training: bool) -> Array:
        """The layer's output."""

    @abstractmethod
    def backward(self, dy: Array) -> Array:
        """The gradient with respect to the last input."""


class Linear(Layer):
    """y = x W^T + b, with adapters x (W + scale B A)^T + b (Hu et al. 2021, arXiv:2106.09685)."""

    def __init__(self, features: int, out: int, dtype: type) -> None:
        super().__init__()
        self.tensors = {"weight": np.zeros((out, features), dtype), "bias": np.zeros(out, dtype)}
        self.scale = 0.0

    def adapt(self, rank: int, scale: float) -> None:
        """Adapters of zeros, or none for rank 0."""
        weight, self.scale = self.tensors["weight"], scale
        self.tensors = {"weight": weight, "bias": self.tensors["bias"]}
        if rank:
            a, b = np.zeros((rank, weight.shape[1]), weight.dtype), np.zeros((len(weight), rank), weight.dtype)
            self.tensors |= {"lora_A": a, "lora_B": b}

    def forward(self, x: Array, training: bool) -> Array:
        self._x = x
        return np.asarray(x @ self._weight().T + self.tensors["bias"])

    def backward(self, dy: Array) -> Array:
        to_weight = dy.T @ self._x
        self.grads = {"weight": to_weight, "bias": dy.sum(0)}
        if "lora_A" in self.tensors:
            a, b = self.tensors["lora_A"], self.tensors["lora_B"]
            self.grads |= {"lora_A": self.scale * b.T @ to_weight, "lora_B": self.scale * to_weight @ a.T}
        return np.asarray(dy @ self._weight())

    def _weight(self) -> Array:
        if "lora_A" not in self.tensors:
            return self.tensors["weight"]
        update = self.tensors["lora_B"] @ self.tensors["lora_A"]
        return np.asarray(self.tensors["weight"] + self.scale * update)


class Conv(Layer):
    """A convolution without bias: every output pixel is a patch of the padded input times the kernel (im2col)."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int, pad: int, dtype: type, same: bool = False
    ) -> None:
        super().__init__()
        self.tensors = {"weight": np.zeros((out, channels, kernel, kernel), dtype)}
        self.kernel, self.stride, self.pad, self.same = kernel, stride, pad, same

    def forward(self, x: Array, training: bool) -> Array:
        self._shape, sides = x.shape, [self._sides(size) for size in x.shape[1:3]]
        self._before = [before for before, _ in sides]
        self._padded = np.pad(x, ((0, 0), *sides, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(self._padded, (self.kernel, self.kernel), axis=(1, 2))
        # (N, H', W', C, k, k): one patch for every output pixel, laid out like a row of the kernel
        self._patches = windows[:, :: self.stride, :: self.stride]
        return np.asarray(np.einsum("nhwcij,ocij->nhwo", self._patches, self.tensors["weight"], optimize=True))

    def backward(self, dy: Array) -> Array:
        self.grads = {"weight": np.einsum("nhwo,nhwcij->ocij", dy, self._patches, optimize=True)}
        to_patches = np.einsum("nhwo,ocij->nhwcij", dy, self.tensors["weight"], optimize=True)
        padded = np.zeros_like(self._padded)
        height, width = (self.stride * n for n in dy.shape[1:3])
        for i in range(self.kernel):
            for j in range(self.kernel):
                padded[:, i : i + height : self.stride, j : j + width : self.stride] += to_patches[..., i, j]
        (top, left), (_, rows, columns, _) = self._before, self._shape
        return padded[:, top : top + rows, left : left + columns]

    def _sides(self, size: int) -> tuple[int, int]:
        """Zeros before and after; TensorFlow's "SAME" puts the larger half of them after."""
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return (total // 2, total - total // 2) if self.same else (self.pad, self.pad)


class BatchNorm(Layer):
    """(x - mean) / sqrt(var + eps) * weight + bias over all axes but the last (Ioffe & Szegedy 2015).

    In training, the mean and the biased variance are the batch's, and the running ones move towards them by
    `momentum`, the variance unbiased, as in torch, or `biased`, as in Keras. In inference the running ones are used and
    stay.
    """

    def __init__(self, width: int, eps: float, momentum: float, dtype: type, biased: bool = False) -> None:
        super().__init__()
        self.tensors = {
            "weight": np.ones(width, dtype),
            "bias": np.zeros(width, dtype),
            "running_mean": np.zeros(width, dtype),
            "running_var": np.ones(width, dtype),
        }
        self.eps, self.momentum, self.biased = eps, momentum, biased

    def forward(self, x: Array, training: bool) -> Array:
        self._batch = training and self.live
        axes = tuple(range(x.ndim - 1))
        mean, var = self.tensors["running_mean"], self.tensors["running_var"]
        if self._batch:
            mean, var = x.mean(axes), x.var(axes)
            count = x.size // x.shape[-1]
            self._follow("running_mean", mean)
            whole = 1.0 if self.biased else np.float64(count) / (count - 1)
            self._follow("running_var", np.asarray(var * whole, var.dtype))
        self._scale = 1 / np.sqrt(var + self.eps)
        self._normed = (x - mean) * self._scale
        return np.asarray(self._normed * self.tensors["weight"] + self.tensors["bias"])

    def backward(self, dy: Array) -> Array:
        axes = tuple(range(dy.ndim - 1))
        self.grads = {"weight": (dy * self._normed).sum(axes), "bias": dy.sum(axes)}
        d_normed = dy * self.tensors["weight"]
        if self._batch:
            # The batch's mean and variance depend on x too: what of d_normed moves them is taken out.
            d_normed = d_normed - d_normed.mean(axes) - self._normed * (d_normed * self._normed).mean(axes)
        return np.asarray(d_normed * self._scale)

    def _follow(self, name: str, batch: Array) -> None:
        self.tensors[name] = (1 - self.momentum) * self.tensors[name] + self.momentum * batch


class LayerNorm(Layer):
    """Normalisation of each row by its own mean and biased variance (Ba et al. 2016)."""

    def __init__(self, width: int, dtype: type, eps: float = 1e-5) -> None:
        super().__init__()
        self.tensors = {"weight": np.ones(width, dtype), "bias": np.zeros(width, dtype)}
        self.eps = eps

    def forward(self, x: Array, training: bool) -> Array:
        self._scale = 1 / np.sqrt(x.var(-1, keepdims=True) + self.eps)
        self._normed = (x - x.mean(-1, keepdims=True)) * self._scale
        return np.asarray(self._normed * self.tensors["weight"] + self.tensors["bias"])

    def backward(self, dy: Array) -> Array:
        self.grads = {"weight": (dy * self._normed).sum(0), "bias": dy.sum(0)}
        d_normed = dy * self.tensors["weight"]
        shared = d_normed.mean(-1, keepdims=True) + self._normed * (d_normed * self._normed).mean(-1, keepdims=True)
        return np.asarray((d_normed - shared) * self._scale)


class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, x: Array, training: bool) -> Array:
        self._positive = x > 0
        return np.asarray(np.maximum(x, np.zeros((), x.dtype)))  # which leaves NaN what it is

    def backward(self, dy: Array) -> Array:
        return np.where(self._positive, dy, np.zeros((), dy.dtype))


class GlobalAverage(Layer):
    """(N, H, W, C) to (N, C)."""

    def forward(self, x: Array, training: bool) -> Array:
        self._shape = x.shape
        return np.asarray(x.mean((1, 2)))

    def backward(self, dy: Array) -> Array:
        _, height, width, _ = self._shape
        return np.array(np.broadcast_to(dy[:, None, None] / (height * width), self._shape))


class Heads(Layer):
    """Heads of several tasks on the same features, their outputs side by side."""

    def __init__(self, heads: Sequence[Mapping[str, Layer]]) -> None:
        super().__init__()
        self.heads = heads

    def inner(self) -> dict[str, Layer]:
        """The layers of all heads by name."""
        return {name: layer for head in self.heads for name, layer in head.items()}

    def forward(self, x: Array, training: bool) -> Array:
        outputs = []
        for head in self.heads:
            y = x
            for layer in head.values():
                y = layer.forward(y, training)
            outputs.append(y)
        self._widths = [y.shape[1] for y in outputs]
        return np.hstack(outputs)

    def backward(self, dy: Array) -> Array:
        total: Array | None = None
        for head, dz in zip(self.heads, np.split(dy, np.cumsum(self._widths)[:-1], axis=1), strict=True):
            for layer in reversed(list(head.values())):
                dz = layer.backward(dz)
            total = dz if total is None else total + dz
        assert total is not None
        return total


class Dropout(Layer):
    """In training, each unit is zero with probability p and scaled by 1 / (1 - p) otherwise (Srivastava et al. 2014).

    The mask is drawn from `rng`, which the stepper sets at each step.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.rng = np.random.default_rng(0)

    def forward(self, x: Array, training: bool) -> Array:
        keep = self.rng.random(x.shape) >= self.p if training else np.ones(x.shape, bool)
        self._factor = (keep / (1 - self.p) if training else keep).astype(x.dtype)
        return np.asarray(x * self._factor)

    def backward(self, dy: Array) -> Array:
        return np.asarray(dy * self._factor)
