"""The settings of a whole run: `xfer train`'s options and the keys of `xfer.toml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from xfer.runtime.paths import expanded
from xfer.specs.choices import EstimatorName, Imputer
from xfer.specs.loss import TaskKind
from xfer.specs.option import Settings, option, pairs, parts
from xfer.specs.preprocessing import Decoding, MissingPixels
from xfer.specs.training_settings import TrainingSettings


def _expanded(folder: str) -> str:
    return str(expanded(folder)) if folder.startswith("~") else folder


class DataSettings(Settings):
    """Which images and labels, and how they are split."""

    data: str = option(..., "folder, manifest (.csv, .parquet), or 'digits'", panel="common")
    val: float = option(
        0.2, "share of train held out for validation where the data has no split", panel="data", gt=0, lt=1
    )
    limit: int | None = option(None, "use at most N images of each split", panel="data", ge=1)
    columns: tuple[str, ...] = option((), "columns of a table to use beside each image", panel="data")
    imputer: Imputer = option("median", "how missing numbers in columns are imputed", panel="data")
    tasks: dict[str, TaskKind] = option(
        {}, "columns of a table as tasks, such as 'species=single-label,age=regression'", panel="data"
    )

    corrections: str | None = option(
        None,
        "CSV file of corrected labels, columns image and label; an empty label excludes the image",
        panel="data",
        result=False,  # what it changes is compared, as part of the data
    )

    _data_lists = field_validator("columns", mode="before")(parts)
    _data_tables = field_validator("tasks", mode="before")(pairs)


class ModelSettings(Settings):
    """Which network, with which weights and head, on which device."""

    model: str = option("efficientnet_lite0", "architecture; `xfer models` lists them", panel="common")
    weights: str = option(
        "imagenet",
        "'imagenet', 'timm', a published entry, a path (FILE#KEY chooses a state dict), hf://owner/repo, or 'none'",
        panel="model",
    )
    backend: str | None = option(
        None, "'torch', 'tensorflow' (alias 'keras') or 'jax'; default: the first that is installed", panel="common"
    )
    image_size: int | None = option(None, "input size in pixels; default: that of the weights", panel="common", ge=8)
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = option((), "widths of hidden layers in the head", panel="model")
    dropout: float = option(0.0, "dropout in the head", panel="model", ge=0, lt=1)
    estimator: EstimatorName | None = option(None, "a scikit-learn classifier as head", panel="model")
    lora: int | None = option(
        None, "LoRA: rank of adapters that are trained with the head, on a frozen backbone", panel="model", ge=1
    )
    lora_alpha: float | None = option(None, "LoRA's alpha; default: the rank", panel="model", gt=0)
    lora_layers: tuple[str, ...] = option(
        (), "linear layers with adapters, such as '*.attn.qkv,layer11'; default: all below the head", panel="model"
    )
    missing_pixels: MissingPixels = option(
        "keep", "what pixels of alpha 0 (NaN in arrays) are replaced by", panel="data"
    )
    decode: Decoding = option(
        "full",
        "'draft' decodes large JPEGs at 1/2 to 1/8 of their size: faster, slightly different pixels",
        panel="data",
    )
    precision: Literal["auto", "fp32", "fp64", "bf16"] = option(
        "auto", "'auto': bfloat16 where it is fast and the features agree with float32", panel="hardware"
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1, gpu:0 or mps", panel="common", result=False)
    compile: bool = option(False, "torch.compile or XLA, if the first batch is faster with it", panel="hardware")
    deterministic: bool | None = option(
        None, "bitwise the same result from each run; default: on the CPU, unless compiled", panel="hardware"
    )

    _model_lists = field_validator("hidden", "lora_layers", mode="before")(parts)


class RunSettings(TrainingSettings, ModelSettings, DataSettings):
    """Everything that decides a run of `xfer train`; one field, `backend`, chooses the framework."""

    epochs: int = option(10, "epochs of the head on a frozen backbone", panel="common", ge=0)
    train: Literal["head", "biases"] = option(
        "head", "what these epochs train: the head, or with it all biases (BitFit)", panel="training"
    )
    fine_tune: int = option(0, "epochs of fine-tuning after them; 5 if given without a number", panel="common", ge=0)
    unfreeze: int = option(1, "blocks below the head that fine-tuning trains", panel="training", ge=0)
    fine_tune_lr: float | None = option(
        None, "rate of fine-tuning; default: lr / 10, and less for each block below the head", panel="training", gt=0
    )
    train_norm: bool | None = option(
        None, "fine-tune batch normalisation too; default: only without pretrained weights", panel="training"
    )
    resample: str = option(
        "none", "train the head on resampled features: 'smote', 'adasyn', 'gaussian', 'gan', ...", panel="imbalance"
    )
    pseudo_label: float | None = option(
        None,
        "after the head's epochs, label unlabelled images with at least this probability, and train on",
        panel="training",
        gt=0,
        le=1,
    )
    calibrate: bool = option(False, "set the temperature on validation data after training", panel="evaluation")
    thresholds: str | None = option(
        None, "tune decision thresholds on validation data for this metric after training", panel="evaluation"
    )
    checkpoint_seconds: float | None = option(
        60.0,
        "seconds between two checkpoints of a run, from which it is resumed",
        panel="checkpoints",
        ge=0,
        result=False,
    )
    checkpoint_steps: int | None = option(
        None, "updates between two checkpoints, in addition", panel="checkpoints", ge=1, result=False
    )
    processes: int = option(
        1,
        "processes that share each batch on this machine, or with --launcher ray its workers",
        panel="hardware",
        ge=1,
        result=False,
    )
    tensorboard: bool = option(False, "write TensorBoard events into the run", panel="checkpoints", result=False)
    out: Annotated[str, AfterValidator(_expanded)] = option("run", "folder of the run", panel="common", result=False)
