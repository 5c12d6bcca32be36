"""What commands and workers open: the model of a run, an ensemble, or an architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from xfer.models.base_model import BaseModel
from xfer.models.factory import is_architecture, load
from xfer.weights.source import NAMED
from xfer.workflows.ensemble import Ensemble
from xfer.workflows.ensemble_files import is_ensemble


@dataclass(frozen=True)
class Opening:
    """How a model is opened, in this process or in another.

    Args:
        run: folder of a run or an ensemble, `hf://owner/repo`, or an architecture.
        backend: of a run or an architecture; None is the run's own, else the first that is installed.
        device: see `xfer.load`.
        weights: of an architecture.
    """

    run: str
    backend: str | None
    device: str
    weights: str = "imagenet"

    def __call__(self) -> BaseModel | Ensemble:
        """The model."""
        if is_ensemble(self.run):
            return Ensemble.load(self.run, device=self.device)
        return load(self.run, backend=self.backend, weights=self.weights, device=self.device)

    def elsewhere(self) -> Opening:
        """The same for a process with another working directory: paths that are here are absolute."""
        run = self.run if is_architecture(self.run) else _absolute(self.run)
        return replace(self, run=run, weights=weights_elsewhere(self.weights))


def weights_elsewhere(weights: str) -> str:
    """Weights as a process with another working directory finds them: a file that is here has its absolute path."""
    return weights if weights in (*NAMED, "none") else _absolute(weights)


def _absolute(path: str) -> str:
    file = Path(path.partition("#")[0]).expanduser()  # FILE#KEY is a state dict of a file
    return str(Path(path).expanduser().absolute()) if file.exists() else path
