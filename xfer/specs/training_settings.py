"""The settings of a `Trainer`: optimizer, schedule, loss, batches, augmentation, early stopping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator

from xfer.errors import UnknownNameError, UsageError
from xfer.specs.choices import OnBad, Sampling, TrackerName
from xfer.specs.class_weights import class_weights, log_prior
from xfer.specs.loss import LossSpec
from xfer.specs.numerics import KERAS_DECAY, KERAS_EPS, Numerics
from xfer.specs.optimizer import OptimizerName, OptimizerSpec
from xfer.specs.option import Settings, option, pairs, parts
from xfer.specs.schedule import Schedule, ScheduleName
from xfer.specs.update import UpdateSpec

Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
LossName = Literal["cross-entropy", "focal", "logit-adjusted"]
_PASS = 32  # images of a forward pass where the batch size is still to be found


class TrainingSettings(Settings):
    """What decides how a model is trained. Each field is an argument of `Trainer` and an option of `xfer train`."""

    lr: Rate | Literal["auto"] | dict[str, Rate] = option(
        1e-3,
        "learning rate of the head, or rates by block such as 'head=1e-3,layer4=1e-4'; 'auto': by a range test",
        panel="common",
    )
    layer_decay: float | None = option(
        None,
        "factor of the learning rate from each layer to the one below it, such as 0.75",
        panel="training",
        gt=0,
        le=1,
    )
    optimizer: OptimizerName = option("adamw", "update rule, with PyTorch's constants", panel="training")
    momentum: float = option(0.9, "momentum of sgd", panel="training", ge=0, lt=1)
    nesterov: bool = option(False, "Nesterov momentum in sgd", panel="training")
    betas: tuple[Decay, Decay] = option((0.9, 0.999), "decay rates of Adam's moments", panel="training")
    eps: float = option(1e-8, "Adam's epsilon", panel="training", gt=0)
    weight_decay: float | None = option(
        None, "default: PyTorch's, 0.01 for adamw and 0 for sgd and adam", panel="training", ge=0
    )
    l2_sp: float | None = option(
        None,
        "L2-SP: decay of the backbone towards its pretrained weights, in place of weight_decay towards zero",
        panel="training",
        gt=0,
    )
    drop_path: float | None = option(
        None,
        "rate of stochastic depth in the last layer, less in those before; default: the network's own",
        panel="training",
        ge=0,
        lt=1,
    )
    backbone_dropout: float | None = option(
        None, "rate of dropout below the head; default: the network's own", panel="training", ge=0, lt=1
    )
    schedule: ScheduleName = option("constant", "learning-rate schedule over the updates of a fit", panel="training")
    warmup: int = option(0, "updates of linear warm-up", panel="training", ge=0)
    milestones: tuple[Share, ...] = option(
        (1 / 3, 2 / 3), "shares of the updates after which 'step' lowers the rate, such as '0.5,0.8'", panel="training"
    )
    gamma: float = option(0.1, "factor of the rate at each milestone", panel="training", gt=0)
    clip_norm: float | None = option(None, "bound of the gradients' global norm", panel="training", gt=0)
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = option(
        32, "images an update; 'auto': the largest that fits into memory, at most 256 and 1/16 epoch", panel="common"
    )
    augment: str = option("none", "'light', 'strong', or such as 'flip,crop=0.5,rotate=15'", panel="common")
    mix: str = option("none", "'mixup', 'cutmix', such as 'mixup=0.2', or both", panel="training")
    early_stopping: int | None = option(
        None, "epochs without improvement after which a fit ends", panel="training", ge=1, on_resume=True
    )
    monitor: str = option(
        "val_loss", "metric of early stopping and best weights: loss, or val_<metric>", panel="training", on_resume=True
    )
    restore_best: bool = option(
        True, "end a fit with the weights of the epoch with the best monitor", panel="training", on_resume=True
    )
    swa: int | None = option(
        None,
        "stochastic weight averaging: end a fit with the mean weights of its last N epochs",
        panel="training",
        ge=1,
        on_resume=True,
    )
    ema: float | None = option(
        None,
        "decay of an exponential moving average of the weights, such as 0.99, which is validated and saved",
        panel="training",
        gt=0,
        lt=1,
    )
    seed: int = option(0, "seed of split, order, augmentation, dropout and initial weights", panel="training", ge=0)
    loss: LossName = option("cross-entropy", "loss of a single-label task", panel="imbalance")
    focal: float = option(2.0, "exponent of the focal loss", panel="imbalance", gt=0)
    label_smoothing: float = option(0.0, "label smoothing of the cross-entropy", panel="training", ge=0, lt=1)
    class_weights: Literal["none", "balanced", "effective"] | dict[str, float] | tuple[float, ...] = option(
        "none", "weights of classes in the loss: 'balanced', 'effective', or such as 'ant=1,bee=4'", panel="imbalance"
    )
    sampling: Sampling = option(
        "none", "balance the classes of an epoch: repeat images, leave images out, or both", panel="imbalance"
    )
    augment_minority: str | None = option(
        None, "in place of augment, for classes smaller than the mean class", panel="imbalance"
    )
    on_bad: OnBad = option(
        "report",
        "unreadable images: leave out and list, stop at the first, or list and use a blank image",
        panel="data",
        on_resume=True,
    )
    cache: bool = option(
        True, "compute outputs of frozen blocks once and store them on disk", panel="hardware", on_resume=True
    )
    cache_views: int | None = option(
        None,
        "repeat the augmentation of the first N epochs, and cache the outputs of frozen blocks for each",
        panel="hardware",
        ge=1,
        le=1000,
    )
    image_memory: float | None = option(
        None,
        "GiB of decoded images held between epochs; default: a quarter of the free memory, at most 2",
        panel="hardware",
        ge=0,
        result=False,
    )
    workers: int | None = option(
        None, "decoding threads; default: one for each core, at most 8", panel="hardware", ge=0, result=False
    )

    track: tuple[TrackerName, ...] = option(
        (),
        "experiment trackers: 'tensorboard', 'mlflow', 'wandb', or several of them",
        panel="checkpoints",
        result=False,
    )

    @field_validator("augment", "mix", "augment_minority", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        """An `Augment` or `Mix` as the text that describes it."""
        return value if value is None or isinstance(value, str) else str(value)

    _training_lists = field_validator("milestones", "betas", "track", mode="before")(parts)
    _training_tables = field_validator("lr", "class_weights", mode="before")(pairs)

    @classmethod
    def from_arguments(cls, base: Mapping[str, Any], arguments: Mapping[str, Any]) -> Self:
        """Settings from the arguments of `Trainer`, in which `optimizer` and `schedule` may be specs.

        Args:
            base: values by name.
            arguments: what replaces them.

        Raises:
            UnknownNameError, UsageError: as `of`; or a constant that is given twice.
        """
        flat = {**base, **arguments}
        for name, kind in (("optimizer", OptimizerSpec), ("schedule", Schedule)):
            spec = flat.get(name)
            if isinstance(spec, kind):
                constants = {key: value for key, value in vars(spec).items() if key != "name"}
                if twice := constants.keys() & arguments.keys():
                    raise UsageError(f"{min(twice)} is given beside {name}={spec!r}: give it in the spec alone")
                flat |= {name: spec.name, **constants}
        return cls.of(flat)

    @property
    def optimizer_spec(self) -> OptimizerSpec:
        """The update rule with its constants."""
        return OptimizerSpec(self.optimizer, self.momentum, self.nesterov, self.betas, self.eps, self.weight_decay)

    def update_spec(self, loss: LossSpec, numerics: Numerics | None = None) -> UpdateSpec:
        """What a stepper computes with this loss.

        With Keras's habits, Adam's epsilon and the weight decay are Keras's where the settings have PyTorch's default.
        """
        rule, habits = self.optimizer_spec, numerics or Numerics()
        if habits.optimizer == "keras" and rule.eps == OptimizerSpec().eps:
            rule = replace(rule, eps=KERAS_EPS)
        if habits.decay == "keras" and rule.weight_decay is None:
            rule = replace(rule, weight_decay=KERAS_DECAY.get(rule.name))
        if habits.reduction is not None:
            loss = loss.divided_by(habits.reduction)
        forms = habits.optimizer or "torch", habits.decay or "torch"
        return UpdateSpec(rule, loss, self.clip_norm, self.l2_sp, *forms)

    @property
    def schedule_spec(self) -> Schedule:
        """The schedule with its constants."""
        return Schedule(self.schedule, self.warmup, self.milestones, self.gamma)

    @property
    def needs_counts(self) -> bool:
        """Whether the loss depends on how many training images each class has."""
        return self.loss == "logit-adjusted" or self.class_weights in ("balanced", "effective") or self._by_name

    @property
    def _by_name(self) -> bool:
        return isinstance(self.class_weights, dict)

    def loss_spec(self, counts: Mapping[str, int]) -> LossSpec:
        """The loss, its weights and priors from the numbers of training images by class name.

        Args:
            counts: of every class in the model's order; may be empty where `needs_counts` is False.

        Raises:
            UnknownNameError: class weights of a class that is not among them.
        """
        sizes, given = list(counts.values()), self.class_weights
        if isinstance(given, dict):
            for name in given:
                if name not in counts:
                    raise UnknownNameError("class in class_weights", name, counts)
            weights: tuple[float, ...] | None = tuple(given.get(name, 1.0) for name in counts)
        elif isinstance(given, str):
            weights = None if given == "none" else class_weights(sizes, given)
        else:
            weights = given
        return LossSpec(
            self.label_smoothing,
            weights,
            focal=self.focal if self.loss == "focal" else 0.0,
            adjustment=log_prior(sizes) if self.loss == "logit-adjusted" else None,
        )

    @property
    def images_per_pass(self) -> int:
        """Images of a forward pass in which nothing is trained."""
        return _PASS if self.batch_size == "auto" else self.batch_size
