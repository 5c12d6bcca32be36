"""Figures of merit of a classifier, from its logits, on the host in float64."""

from __future__ import annotations

import numpy as np


def classification_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Loss, accuracy, top-5 accuracy and macro F1.

    The loss is the plain cross-entropy, without class weights or smoothing, so that runs can be compared. Macro F1 is
    scikit-learn's over all classes of the model, a class that neither occurs nor is predicted left out.

    Args:
        logits: (N, K), N at least 1.
        labels: int64 (N,), class indices.
    """
    from sklearn.metrics import f1_score

    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    of_label = z[np.arange(len(z)), labels]
    loss = np.log(np.exp(z).sum(axis=1)) - of_label
    predicted = z.argmax(axis=1)
    better = (z > of_label[:, None]).sum(axis=1)
    return {
        "loss": float(loss.mean()),
        "accuracy": float((predicted == labels).mean()),
        "top5_accuracy": float((better < 5).mean()),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0.0)),
    }


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 (K, K): rows are the true classes, columns the predicted ones."""
    from sklearn.metrics import confusion_matrix as count

    return np.asarray(count(labels, predicted, labels=np.arange(classes)), np.int64)
