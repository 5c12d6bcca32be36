"""One update: the loss, the clipping of its gradients, and the rule by which they change the weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from xfer.errors import UsageError
from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec

Form = Literal["torch", "keras"]


@dataclass(frozen=True)
class UpdateSpec:
    """What a stepper computes.

    Args:
        optimizer: the update rule.
        loss: the loss.
        clip_norm: bound of the gradients' global norm, as `torch.nn.utils.clip_grad_norm_` applies it; None for none.
        l2_sp: L2-SP (Li et al. 2018, arXiv:1802.01483): the weight decay of what is below the head, towards the weights
            with which its training began, in the place of the optimizer's weight decay towards zero. Like that it is
            applied after clipping, added to the gradient by `sgd` and `adam`, and decoupled in `adamw`. None for none.
        form: "torch"; or "keras", the rules of keras.optimizers: `sgd` keeps momentum times the last change minus rate
            times gradient, and Adam adds epsilon before the correction of the second moment's bias.
        decay_form: "torch", as `OptimizerSpec` says; or "keras": all rules decouple weight decay and L2-SP.
    """

    optimizer: OptimizerSpec = field(default_factory=OptimizerSpec)
    loss: LossSpec = field(default_factory=LossSpec)
    clip_norm: float | None = None
    l2_sp: float | None = None
    form: Form = "torch"
    decay_form: Form = "torch"

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UsageError(f"clip_norm={self.clip_norm}: give a positive number, or None not to clip")
        if self.l2_sp is not None and not self.l2_sp > 0:
            raise UsageError(f"l2_sp={self.l2_sp}: give a positive number, or None for no L2-SP")

    @property
    def decoupled(self) -> bool:
        """Whether weights decay by themselves; else the decay is added to the gradient."""
        return self.optimizer.name == "adamw" or self.decay_form == "keras"
