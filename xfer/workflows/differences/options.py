"""Which options of a run a gap has, and those of its defaults that are others than `xfer train`'s."""

from __future__ import annotations

from typing import Any

OF_MODEL = ("model", "weights", "image_size", "hidden", "dropout", "device", "precision")
OF_DATA = ("val", "limit", "batch_size", "workers", "augment")
OF_RULE = ("optimizer", "momentum", "nesterov", "betas", "eps", "weight_decay", "clip_norm")
OF_RATE = ("lr", "schedule", "warmup")
OF_LOSS = ("loss", "focal", "label_smoothing", "class_weights")
OF_PHASES = ("epochs", "fine_tune", "unfreeze", "fine_tune_lr", "train_norm", "seed")
OPTIONS = (*OF_MODEL, *OF_DATA, *OF_RULE, *OF_RATE, *OF_LOSS, *OF_PHASES)

# Batch normalisation is trained, so that its habits are there; every run ends with its last epoch.
DEFAULTS: dict[str, Any] = {
    "epochs": 5,
    "fine_tune": 5,
    "train_norm": True,
    "precision": "fp32",
    "restore_best": False,
}
