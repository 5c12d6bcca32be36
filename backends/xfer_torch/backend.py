"""The PyTorch backend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torchvision

from xfer.backend import Backend, ModelSpec
from xfer.errors import BackendError
from xfer.model import BaseModel
from xfer.numerics import LossSpec, OptimizerSpec
from xfer.zoo import cards
from xfer_torch.families import FAMILIES
from xfer_torch.model import TorchModel
from xfer_torch.stepper import TorchStepper


class TorchBackend(Backend):
    """PyTorch and torchvision."""

    name = "torch"

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__, "torchvision": torchvision.__version__}

    def devices(self) -> Sequence[str]:
        found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        found += ["mps"] if torch.backends.mps.is_available() else []
        return [*found, "cpu"]

    def architectures(self) -> Sequence[str]:
        return [card.name for card in cards() if card.family in FAMILIES]

    def build(self, spec: ModelSpec) -> TorchModel:
        if spec.card.family not in FAMILIES:
            raise BackendError(f"backend 'torch' has no {spec.card.name}: it has {', '.join(self.architectures())}")
        if spec.precision == "fp64" and spec.device == "mps":
            raise BackendError("device 'mps' has no float64: use device='cpu' for precision 'fp64'")
        return TorchModel(self, spec)

    def stepper(
        self, model: BaseModel, optimizer: OptimizerSpec, loss: LossSpec, clip_norm: float | None = None
    ) -> TorchStepper:
        assert isinstance(model, TorchModel)
        return TorchStepper(model, optimizer, loss, clip_norm)
