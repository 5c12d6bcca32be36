"""The loss of `LossSpec` in torch, by the framework's own function where it has one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xfer.specs.loss import LossSpec, spans

_NONE = -100  # torch's index for rows without a label


def loss_of(spec: LossSpec, logits: Tensor, labels: np.ndarray) -> Tensor:
    """The mean loss of logits (N, K) for labels int64 (N,), shares of classes (N, K), or targets of tasks (N, M)."""
    if spec.tasks:
        return _tasks(spec, logits, labels)
    return cross_entropy(spec, logits, labels) if labels.ndim == 1 else _soft_cross_entropy(spec, logits, labels)


def cross_entropy(spec: LossSpec, logits: Tensor, labels: np.ndarray) -> Tensor:
    """The mean loss of logits (N, K) against class indices (N,), negative where there is none."""
    target = torch.from_numpy(np.ascontiguousarray(labels, np.int64)).to(logits.device)
    if not spec.weight_of(labels) > 0:
        return 0.0 * logits.sum()
    target = target.masked_fill(target < 0, _NONE)
    if spec.adjustment is not None:
        logits = logits + torch.tensor(spec.adjustment, dtype=logits.dtype, device=logits.device)
    weight = None
    if spec.class_weights is not None:
        weight = torch.tensor(spec.class_weights, dtype=logits.dtype, device=logits.device)
    known = target != _NONE
    if not spec.focal:
        by_count = spec.reduction == "count"
        found = functional.cross_entropy(
            logits,
            target,
            weight,
            ignore_index=_NONE,
            label_smoothing=spec.label_smoothing,
            reduction="sum" if by_count else "mean",
        )
        return found / known.sum() if by_count else found
    target = target[known]
    log_p = functional.log_softmax(logits[known], 1).gather(1, target[:, None])[:, 0]
    of_label = torch.ones_like(log_p) if weight is None else weight[target]
    divisor = known.sum() if spec.reduction == "count" else of_label.sum()
    return (of_label * _wrong(log_p) ** spec.focal * -log_p).sum() / divisor


def _soft_cross_entropy(spec: LossSpec, logits: Tensor, shares: np.ndarray) -> Tensor:
    known = ~np.isnan(shares).any(axis=1)
    if not known.any():
        return 0.0 * logits.sum()
    logits, target = logits[_index(known, logits)], _like(shares[known], logits)
    if spec.adjustment is not None:
        logits = logits + torch.tensor(spec.adjustment, dtype=logits.dtype, device=logits.device)
    log_p = functional.log_softmax(logits, 1)
    target = (1 - spec.label_smoothing) * target + spec.label_smoothing / logits.shape[1]
    if spec.focal:
        target = target * _wrong(log_p) ** spec.focal
    if spec.class_weights is not None:
        target = target * torch.tensor(spec.class_weights, dtype=logits.dtype, device=logits.device)
    return -(target * log_p).sum(1).mean()


def _tasks(spec: LossSpec, logits: Tensor, targets: np.ndarray) -> Tensor:
    total = logits.new_zeros(())
    for task, outputs, columns in spans(spec.tasks):
        z, y = logits[:, outputs], targets[:, columns]
        if task.kind == "single-label":
            loss = cross_entropy(task.loss, z, np.where(np.isnan(y[:, 0]), -1, y[:, 0]).astype(np.int64))
        else:
            known = ~np.isnan(y)
            target, mask = _like(np.where(known, y, 0), z), _like(known, z)
            multi = task.kind == "multi-label"
            each = functional.binary_cross_entropy_with_logits if multi else functional.mse_loss
            loss = (each(z, target, reduction="none") * mask).sum() / max(int(known.sum()), 1)
        total = total + task.weight * loss
    return total


def _wrong(log_p: Tensor) -> Tensor:
    """1 - p, not 0: there a power below 1 has no derivative."""
    return (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)


def _like(array: np.ndarray, logits: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(logits.device, logits.dtype)


def _index(rows: np.ndarray, logits: Tensor) -> Tensor:
    return torch.from_numpy(np.flatnonzero(rows)).to(logits.device)
