"""MovingAverage on PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from xfer.models.moving_average import MovingAverage
from xfer_torch.model import TorchModel, to_numpy


class TorchAverage(MovingAverage):
    """The average on the device, moved with one kernel for many tensors."""

    model: TorchModel

    def __init__(self, model: TorchModel, decay: float) -> None:
        super().__init__(model, decay)
        self._averages: dict[str, Tensor] = {}

    def hold(self, names: Iterable[str]) -> None:
        tensors = self.model.tensors()
        with self._ready():
            self._averages |= {n: tensors[n].detach().clone() for n in names if n not in self._averages}

    def update(self) -> None:
        tensors = self.model.tensors()
        pairs = [(average, tensors[name].detach()) for name, average in self._averages.items()]
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        with self._ready():
            if moving:
                averages, now = zip(*moving, strict=True)
                torch._foreach_lerp_(averages, now, 1 - self.decay)
            for average, latest in pairs:
                if not average.is_floating_point():
                    average.copy_(latest)

    def read(self) -> dict[str, np.ndarray]:
        return {name: to_numpy(tensor) for name, tensor in self._averages.items()}

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        tensors = self.model.tensors()
        with self._ready():
            self._averages = {
                name: torch.empty_like(tensors[name]).copy_(torch.from_numpy(np.asarray(array, order="C")))
                for name, array in arrays.items()
            }

    @contextmanager
    def _ready(self) -> Iterator[None]:
        with self.model.exclusively(), self.model.backend.deterministically(self.model.spec), torch.no_grad():
            yield
