"""Optimizers and their constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from xfer.errors import UnknownNameError, UsageError

OptimizerName = Literal["sgd", "adam", "adamw"]

_DEFAULT_DECAY = {"sgd": 0.0, "adam": 0.0, "adamw": 0.01}


@dataclass(frozen=True)
class OptimizerSpec:
    """An update rule, torch's in every detail.

    `sgd` and `adam` couple weight decay (it joins the gradient), `adamw` decouples it (Loshchilov & Hutter 2019).
    Epsilon stands outside the bias correction, as in torch. `weight_decay=None` means torch's default for the rule.
    """

    name: OptimizerName = "adamw"
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if self.name not in get_args(OptimizerName):
            raise UnknownNameError("optimizer", self.name, get_args(OptimizerName))
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov needs momentum > 0: give momentum=0.9, or nesterov=False")
        if self.decay < 0:
            raise UsageError(f"weight_decay={self.weight_decay} is negative: give 0 or more")

    @property
    def decay(self) -> float:
        """The weight decay in force."""
        return _DEFAULT_DECAY[self.name] if self.weight_decay is None else self.weight_decay

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the state kept for each tensor, as torch names them."""
        if self.name == "sgd":
            return ("momentum_buffer",) if self.momentum else ()
        return ("exp_avg", "exp_avg_sq")
