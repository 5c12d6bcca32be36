import json

import numpy as np
import pytest

from xfer.evaluation.evaluation import Evaluation
from xfer.evaluation.metrics import classification_metrics
from xfer.specs.decision import softmax
from xfer.specs.settings import RunSettings


@pytest.fixture
def make_run(tmp_path):
    """A maker of run folders as training leaves them, from the logits (N, K) of the validation images."""

    def make(backend, scores, labels, classes, *, names=None, losses=(1.0,), data="gone"):
        folder = tmp_path / backend
        folder.mkdir(exist_ok=True)
        labels, classes = np.asarray(labels), tuple(classes)
        names = tuple(names or (f"val/{i}.jpg" for i in range(len(labels))))
        metrics = classification_metrics(scores, labels)
        Evaluation(metrics, softmax(scores).astype(np.float32), labels, names, classes).write_csv(
            folder / "predictions.csv"
        )
        config = RunSettings(data=data, backend=backend, epochs=len(losses), out=str(folder))
        document = {
            "val": metrics,
            "epochs": [epoch(number, loss) for number, loss in enumerate(losses, 1)],
            "seconds": {"data": 0.5, "load": 2.0, "head": 12.5, "evaluate": 1.0, "total": 16.0},
            "peak_memory_bytes": {"data": 2**29, "load": 2**30, "head": 3 * 2**29, "evaluate": 2**30},
            "backend": backend,
            "versions": {backend: "1.2.3"},
            "device": "cpu",
            "precision": "fp32",
            "model": "tiny",
            "classes": list(classes),
            "parameters": {"trainable": 51, "frozen": 1400},
            "data": {"source": data, "train": 100, "val": len(labels), "skipped": []},
            "config": config.model_dump(mode="json"),
        }
        (folder / "metrics.json").write_text(json.dumps(document))
        return folder

    return make


def epoch(number, loss):
    return {
        "epoch": number,
        "phase": "head",
        "lr": 1e-3,
        "loss": loss,
        "images": 100,
        "val_loss": 2 * loss,
        "val_accuracy": 1 - loss / 4,
        "seconds": 1.0,
    }
