"""The loss of `LossSpec` in torch, where it is the framework's own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xfer.numerics import LossSpec

_NONE = -100  # torch's index for rows without a label


def cross_entropy(spec: LossSpec, logits: Tensor, labels: np.ndarray) -> Tensor:
    """The mean loss of logits (N, K) against class indices (N,), negative where there is none."""
    target = torch.from_numpy(np.ascontiguousarray(labels, np.int64)).to(logits.device)
    if not (labels >= 0).any():
        return 0.0 * logits.sum()
    target = target.masked_fill(target < 0, _NONE)
    if spec.adjustment is not None:
        logits = logits + torch.tensor(spec.adjustment, dtype=logits.dtype, device=logits.device)
    weight = None
    if spec.class_weights is not None:
        weight = torch.tensor(spec.class_weights, dtype=logits.dtype, device=logits.device)
    if not spec.focal:
        return functional.cross_entropy(
            logits, target, weight, ignore_index=_NONE, label_smoothing=spec.label_smoothing
        )
    known = target != _NONE
    target = target[known]
    log_p = functional.log_softmax(logits[known], 1).gather(1, target[:, None])[:, 0]
    of_label = torch.ones_like(log_p) if weight is None else weight[target]
    return (of_label * (-torch.expm1(log_p)) ** spec.focal * -log_p).sum() / of_label.sum()
