"""The loss of `LossSpec` in torch, where it is the framework's own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xfer.numerics import LossSpec


def cross_entropy(spec: LossSpec, logits: Tensor, labels: np.ndarray) -> Tensor:
    """The mean loss of logits (N, K) against class indices (N,)."""
    target = torch.from_numpy(np.ascontiguousarray(labels, np.int64)).to(logits.device)
    weight = None
    if spec.class_weights is not None:
        weight = torch.tensor(spec.class_weights, dtype=logits.dtype, device=logits.device)
    return functional.cross_entropy(logits, target, weight, label_smoothing=spec.label_smoothing)
