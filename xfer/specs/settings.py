"""One description of a run: the options of the command line and the keys of `xfer.toml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

ESTIMATORS = ("logistic-regression", "svm", "knn", "random-forest", "gradient-boosting", "adaboost", "bagging")


class TrainConfig(BaseModel):
    """Everything that decides a training run; one key, `backend`, chooses the framework."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    data: str = Field(description="folder, manifest (.csv, .parquet), or 'digits'")
    model: str = Field("efficientnet_lite0", description="architecture; `xfer models` lists them")
    weights: str = Field("imagenet", description="'imagenet', a published entry, a path, or 'none'")
    backend: str | None = Field(
        None, description="'torch' or 'tensorflow' (alias 'keras'); default: the first installed"
    )
    epochs: int = Field(10, ge=0, description="epochs of the head on a frozen backbone")
    fine_tune: int = Field(0, ge=0, description="epochs of fine-tuning after them")
    unfreeze: int = Field(1, ge=0, description="blocks below the head that fine-tuning trains")
    lr: float = Field(1e-3, gt=0, description="learning rate of the head")
    fine_tune_lr: float | None = Field(
        None, gt=0, description="rate in fine-tuning; default: a tenth of lr, less for each block below"
    )
    train_norm: bool | None = Field(
        None, description="fine-tune batch norm as well; default: only without pretrained weights"
    )
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    nesterov: bool = False
    weight_decay: float | None = Field(None, ge=0, description="default: torch's for the optimizer")
    schedule: Literal["constant", "cosine", "step", "onecycle"] = "constant"
    warmup: int = Field(0, ge=0, description="updates of linear warm-up")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    loss: Literal["cross-entropy", "focal", "logit-adjusted"] = "cross-entropy"
    focal: float = Field(2.0, gt=0, description="exponent of the focal loss")
    class_weights: Literal["none", "balanced", "effective"] | dict[str, float] = Field(
        "none", description="weigh classes in the loss: 'balanced', 'effective', or such as 'ant=1,bee=4'"
    )
    resample: str = Field(
        "none", description="train the head on resampled features: 'smote', 'adasyn', 'gaussian', 'gan', ..."
    )
    estimator: Literal[ESTIMATORS] | None = Field(None, description="a scikit-learn classifier as head")  # type: ignore[valid-type]
    pseudo_label: float | None = Field(
        None, gt=0, le=1, description="after the head's epochs, label unlabelled images if so sure, and train on"
    )
    calibrate: bool = Field(False, description="set the temperature on validation after training")
    thresholds: str | None = Field(None, description="tune thresholds on validation for this metric after training")
    swa: int | None = Field(None, ge=1, description="average the weights of so many epochs at the end of each phase")
    clip_norm: float | None = Field(None, gt=0, description="bound of the gradients' global norm")
    early_stopping: int | None = Field(None, ge=1, description="epochs without improvement before stopping")
    monitor: str = Field(
        "val_loss", description="for early stopping and best weights: val_ and any metric of `xfer evaluate`, or loss"
    )
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        32, description="images an update; auto: the most that memory holds, at most 256 and a 16th of an epoch"
    )
    image_size: int | None = Field(None, ge=8, description="input pixels; default: that of the weights")
    precision: Literal["auto", "fp32", "fp64", "bf16"] = "auto"
    compile: bool = Field(False, description="torch.compile or XLA, if the first batch shows that it is faster")
    deterministic: bool | None = Field(
        None, description="the same bits from each run on one machine; default: on the CPU, unless compile is given"
    )
    augment: str = Field("none", description="'light', 'strong', or such as 'flip,crop=0.5,rotate=15'")
    sampling: Literal["none", "over", "under", "balanced"] = Field(
        "none", description="classes of one size: repeat images of small ones, leave out those of large ones, or both"
    )
    augment_minority: str | None = Field(None, description="in place of augment, for classes below the mean size")
    mix: str = Field("none", description="'mixup', 'cutmix', such as 'mixup=0.2', or both")
    hidden: tuple[int, ...] = Field((), description="widths of hidden layers in the head")
    dropout: float = Field(0.0, ge=0, lt=1, description="in the head")
    columns: tuple[str, ...] = Field((), description="columns of a table to use beside each image")
    imputer: Literal["mean", "median", "most_frequent", "knn", "iterative"] = Field(
        "median", description="what missing numbers in columns become"
    )
    tasks: dict[str, Literal["single-label", "multi-label", "regression"]] = Field(
        default_factory=dict, description="columns of a table as tasks: such as 'species=single-label,age=regression'"
    )
    val: float = Field(0.2, gt=0, lt=1, description="share held out where the data has no split")
    limit: int | None = Field(None, ge=1, description="use at most so many images of each split")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, gpu:0 or mps")
    workers: int | None = Field(None, ge=0, description="decoding threads; default: one a core")
    on_bad: Literal["report", "raise", "impute"] = Field(
        "report", description="images that cannot be read: leave out and list, stop at the first, or list and blank"
    )
    missing_pixels: Literal["keep", "mean", "neighbours", "inpaint"] = Field(
        "keep", description="what pixels of alpha 0 (in arrays, of NaN) become"
    )
    decode: Literal["full", "draft"] = Field(
        "full", description="JPEGs: every pixel, or large ones at 1/2 to 1/8 of their size, faster and slightly other"
    )
    cache: bool = Field(True, description="compute outputs of frozen blocks once, and keep them on disk")
    image_memory: float | None = Field(
        None,
        ge=0,
        description="GiB of decoded images kept between epochs; default: a quarter of the free, at most 2",
    )
    cache_views: int | None = Field(
        None, ge=1, le=1000, description="repeat the augmentation of the first so many epochs, and keep outputs for it"
    )
    checkpoint_seconds: float | None = Field(
        60.0, ge=0, description="between two checkpoints of a run under way, with which it goes on after a kill"
    )
    checkpoint_steps: int | None = Field(None, ge=1, description="updates between two checkpoints, besides")
    seed: int = Field(0, ge=0, description="of split, order, augmentation and initial weights")
    tensorboard: bool = Field(False, description="write TensorBoard events into the run")
    out: str = Field("run", description="folder of the run")

    @property
    def images_a_pass(self) -> int:
        """Images in one pass where nothing is trained."""
        return 32 if self.batch_size == "auto" else self.batch_size

    @field_validator("hidden", "columns", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """On the command line a list is a text: "256,128"."""
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("tasks", "class_weights", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        """On the command line a table is a text: "age=regression,species=single-label"."""
        if not isinstance(value, str) or (value and "=" not in value):
            return value
        return dict(part.rsplit("=", 1) for part in value.split(",") if "=" in part)
