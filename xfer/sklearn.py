"""xfer as a scikit-learn classifier, for Pipeline, GridSearchCV and cross_val_score."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from xfer.data import Data, pictures
from xfer.data.dataset import Split
from xfer.errors import DataError
from xfer.models.base_model import BaseModel
from xfer.models.factory import load
from xfer.specs.head import Head
from xfer.specs.loss import LossSpec
from xfer.training.trainer import Trainer


class ImageClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network with a new head, trained on a frozen backbone and fine-tuned if asked.

    Args:
        model: an architecture's name.
        backend: "torch", "tensorflow", or None for the first installed.
        weights: as in `xfer.load`.
        epochs: of the head.
        fine_tune: epochs of fine-tuning after them, of the last `unfreeze` blocks.
        unfreeze: see `Trainer.fine_tune`.
        lr: learning rate of the head.
        optimizer, batch_size, augment, sampling, image_size, device: as in `Trainer` and `xfer.load`.
        head: a `Head`, also `Head.sklearn(estimator)`; linear by default.
        loss: a `LossSpec`.
        seed: of weights and order.

    Attributes:
        classes_: the labels, sorted.
        model_: the trained `BaseModel`.
        history_: one row an epoch.
    """

    def __init__(
        self,
        model: str = "efficientnet_lite0",
        *,
        backend: str | None = None,
        weights: str | None = "imagenet",
        epochs: int = 10,
        fine_tune: int = 0,
        unfreeze: int = 1,
        lr: float = 1e-3,
        optimizer: str = "adamw",
        batch_size: int = 32,
        augment: str = "none",
        sampling: str = "none",
        image_size: int | None = None,
        head: Any = None,
        loss: LossSpec | None = None,
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        self.model, self.backend, self.weights = model, backend, weights
        self.epochs, self.fine_tune, self.unfreeze, self.lr, self.optimizer = epochs, fine_tune, unfreeze, lr, optimizer
        self.batch_size, self.augment, self.sampling, self.image_size = batch_size, augment, sampling, image_size
        self.head, self.loss, self.device, self.seed = head, loss, device, seed

    def fit(self, X: Any, y: Any) -> Self:
        """Train on images and labels.

        Args:
            X: paths, Pillow images, or uint8 arrays: a list, or an array (N,) of paths or (N, H, W, 3) of pixels.
            y: labels (N,) of any type that sorts, of two classes or more.

        Raises:
            DataError: an image that cannot be read, by name; other numbers of images and labels; one class.
        """
        split, labels = pictures(_list(X)), np.asarray(y)
        if len(split) != len(labels):
            raise DataError(f"X has {len(split)} images and y {len(labels)} labels: give as many")
        self.classes_, places = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y has one class, {str(self.classes_[0])!r}: classification needs two or more")
        names = tuple(str(i) for i in range(len(self.classes_)))
        train = Split(split.images, places, split.names, names)
        data = Data(train, None, None, names, "X")
        self.model_: BaseModel = load(
            self.model,
            backend=self.backend,
            weights=self.weights,
            classes=names,
            head=self.head or Head(),
            device=self.device,
            image_size=self.image_size,
            seed=self.seed,
        )
        trainer = Trainer(
            self.model_,
            lr=self.lr,
            optimizer=self.optimizer,  # type: ignore[arg-type]
            loss=self.loss,
            batch_size=self.batch_size,
            seed=self.seed,
            augment=self.augment,
            sampling=self.sampling,  # type: ignore[arg-type]
            on_bad="raise",
            progress=False,
        )
        self.model_.freeze()
        if self.epochs:
            trainer.fit(data, self.epochs)
        if self.fine_tune:
            trainer.fine_tune(data, head_epochs=0, epochs=self.fine_tune, unfreeze=self.unfreeze)
        self.history_ = trainer.history
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities float32 (N, K) in the order of `classes_`."""
        check_is_fitted(self)
        return self.model_.predict_proba(_list(X), batch_size=self.batch_size)

    def predict(self, X: Any) -> np.ndarray:
        """Labels (N,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])


def _list(images: Any) -> Any:
    """scikit-learn splits arrays of paths, which `pictures` takes as a list."""
    if isinstance(images, np.ndarray) and images.ndim == 1:
        return [Path(str(each)) if isinstance(each, str) else each for each in images.tolist()]
    return images
