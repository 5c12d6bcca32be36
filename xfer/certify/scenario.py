"""The training runs that a certificate covers."""

from __future__ import annotations

from dataclasses import dataclass, field

from xfer.specs.loss import LossSpec
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.schedule import Schedule

SMOOTH = LossSpec(label_smoothing=0.1)
FOCAL = LossSpec(focal=2.0, adjustment=(0.0, -0.5, -1.0, -1.5, -2.0))


@dataclass(frozen=True)
class Scenario:
    """A short training run that both backends make.

    Args:
        name: in tables.
        optimizer, schedule, loss, clip_norm: as in `xfer.Trainer`; `weighted` adds class weights to the loss.
        rate: base learning rate; `decay` divides it for each block below the head.
        layer_decay, l2_sp, ema: as in `xfer.Trainer`.
        unfrozen: blocks below the head that are trained; None trains all.
        norm: whether the backbone's batch normalisation is trained.
        missing: whether some labels are missing.
        lora: rank of adapters, which are trained with the head; left out where no layer below the head is linear.
        unfreeze_at: the step (0-based) before which one more block is unfrozen; None for never.
    """

    name: str
    optimizer: OptimizerSpec
    schedule: Schedule = field(default_factory=Schedule)
    loss: LossSpec = field(default_factory=LossSpec)
    weighted: bool = False
    clip_norm: float | None = None
    rate: float = 1e-2
    decay: float = 1.0
    layer_decay: float | None = None
    l2_sp: float | None = None
    ema: float | None = None
    unfrozen: int | None = None
    norm: bool = True
    missing: bool = False
    unfreeze_at: int | None = None
    lora: int | None = None


# The rates are such that training is stable: a run that blows up amplifies the last bit of anything.
SCENARIOS = (
    Scenario("sgd, all trainable", OptimizerSpec("sgd", momentum=0.9), clip_norm=1.0),
    Scenario(
        "sgd, coupled decay, cosine after warm-up",
        OptimizerSpec("sgd", momentum=0.9, weight_decay=1e-2),
        schedule=Schedule("cosine", warmup=3),
        loss=SMOOTH,
        rate=1e-3,
    ),
    Scenario("nesterov, class weights", OptimizerSpec("sgd", nesterov=True), loss=SMOOTH, weighted=True, clip_norm=1.0),
    Scenario("adam, coupled decay", OptimizerSpec("adam", weight_decay=1e-2), rate=1e-3),
    Scenario("adamw, rates by block, one-cycle", OptimizerSpec("adamw"), Schedule("onecycle"), rate=1e-3, decay=2.6),
    Scenario("adamw, head only", OptimizerSpec("adamw", weight_decay=0.1), unfrozen=0),
    Scenario("sgd, last block, norm trained", OptimizerSpec("sgd"), unfrozen=1, weighted=True),
    Scenario("adam, last block, norm frozen", OptimizerSpec("adam"), rate=1e-3, unfrozen=1, norm=False),
    Scenario(
        "sgd, focal, logits adjusted, labels missing",
        OptimizerSpec("sgd"),
        loss=FOCAL,
        clip_norm=1.0,
        rate=1e-3,
        missing=True,
    ),
    Scenario("adamw, unfreeze in mid-run", OptimizerSpec("adamw"), rate=1e-3, unfrozen=0, unfreeze_at=5),
    Scenario("adamw, LoRA of rank 4", OptimizerSpec("adamw"), rate=1e-3, lora=4),
    Scenario(
        "sgd, layer decay, L2-SP, moving average",
        OptimizerSpec("sgd", weight_decay=1e-2),
        rate=1e-3,
        layer_decay=0.75,
        l2_sp=0.1,
        ema=0.9,
    ),
    Scenario(
        "adamw, layer decay, L2-SP, moving average, unfreeze in mid-run",
        OptimizerSpec("adamw"),
        rate=1e-3,
        layer_decay=0.75,
        l2_sp=0.1,
        ema=0.9,
        unfrozen=1,
        unfreeze_at=5,
    ),
)
