"""Recording of plain PyTorch code: hooks of modules, parameters and the optimizer, none of which changes a number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from xfer.errors import UsageError
from xfer.traces.record import Recorder, raw_arrays
from xfer.traces.trace import Group, Layer, StepNotes, TraceNotes
from xfer_torch.record_pass import Pass, array


class TorchRecorder(Recorder):
    """Records a `torch.nn.Module` and a `torch.optim.Optimizer`."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        if hasattr(model, "_orig_mod"):
            raise UsageError("the inside of a compiled module cannot be seen: record the module before torch.compile")
        if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
            raise UsageError(f"optimizer is a {type(optimizer).__name__}: give the torch.optim.Optimizer of the loop")
        self.model, self.optimizer = model, optimizer
        self.names = {id(tensor): name for name, tensor in model.named_parameters(remove_duplicate=False)}
        self.layers: list[Layer] = []
        self._clear()

    def _clear(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.given: dict[str, Any] = {}
        self.passes, self.updated, self.rates = 0, False, list[float]()
        self.raw_gradients: dict[str, Tensor] = {}
        self.training: dict[str, bool] = {}
        self.count: int | None = None

    def __enter__(self) -> Self:
        self._exit = ExitStack()
        self._watch = Pass(self)
        modules = [(n, m) for n, m in self.model.named_modules()]
        for name, module in modules:
            self._hook(module.register_forward_pre_hook(self._watch.before(name), with_kwargs=True))
            self._hook(module.register_forward_hook(self._watch.after(name), always_call=False))
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                self._hook(parameter.register_hook(self._gradient(name)))
        if self.optimizer is not None:
            self._hook(self.optimizer.register_step_pre_hook(self._before_update))
            self._hook(self.optimizer.register_step_post_hook(self._after_update))
        return self

    def _hook(self, handle: Any) -> None:
        self._exit.callback(handle.remove)

    def __exit__(self, *error: Any) -> None:
        self._finish()
        self._exit.close()
        self._watch.leave()
        self.close()

    def begin(self, images: Tensor | None) -> bool:
        """A pass begins; whether it is to be kept."""
        if self.complete or not torch.is_grad_enabled():
            return False
        if self.updated:
            self._finish()
        if self.complete:
            return False
        self.passes += 1
        if self.passes > 1:
            return False
        if not self.written:
            self.before = self._state()
        self.training = {name: module.training for name, module in self.model.named_modules()}
        if images is not None:
            self.arrays["batch/images"] = array(images)
        return True

    def step(
        self, images: Any = None, labels: Any = None, loss: Any = None, weights: Any = None, raw: Sequence[Any] = ()
    ) -> None:
        if self.complete:
            return
        if self.optimizer is None and self.passes:
            self.updated = True
        files, arrays = raw_arrays(raw, 0 if self.written else self.samples)
        for key, value in {"images": images, "labels": labels, "weights": weights}.items():
            if value is not None:
                arrays[f"batch/{key}"] = array(value)
        self.given = {"loss": None if loss is None else float(array(loss)), "raw": files}
        self.arrays |= arrays
        if self.updated:
            self._finish()

    def _gradient(self, name: str) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            if not self.complete and self.passes and not self.updated:
                before = self.raw_gradients.get(name)
                value = gradient.detach()
                self.raw_gradients[name] = value.clone() if before is None else before + value

        return hook

    def _before_update(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self.complete or not self.passes:
            return
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        counts = [int(state["step"]) for state in optimizer.state.values() if "step" in state]
        self.count = max(counts, default=0) if not self.written else max(counts, default=len(self.written))
        for name, parameter in self.model.named_parameters():
            if parameter.grad is None:
                continue
            applied = array(parameter.grad)
            raw = self.raw_gradients.get(name)
            self.arrays[f"gradient/{name}"] = applied if raw is None else array(raw)
            if raw is not None and not torch.equal(raw, parameter.grad):
                self.arrays[f"applied/{name}"] = applied

    def _after_update(self, *_: Any) -> None:
        if self.complete or not self.passes:
            return
        self.updated = True
        self.after = self._state()
        if self.given:
            self._finish()

    def _finish(self) -> None:
        """Write the step that was made, if one was."""
        if not self.updated or self.complete:
            return
        if self.optimizer is None:
            self.after = self._state()
            self.arrays |= {f"gradient/{name}": array(g) for name, g in self.raw_gradients.items()}
        notes = StepNotes(
            loss=self.given.get("loss"),
            rates=self.rates,
            count=self.count,
            training=self.training,
            passes=self.passes,
            raw=self.given.get("raw", []),
        )
        self.keep(notes, self.arrays, self.after)
        self._clear()

    def _state(self) -> dict[str, np.ndarray]:
        """Copies of weights, statistics and slots."""
        found = {name: array(tensor) for name, tensor in self.model.state_dict().items()}
        if self.optimizer is not None:
            for parameter, state in self.optimizer.state.items():
                for slot, value in state.items():
                    if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                        found[f"{slot}@{self.names.get(id(parameter), '?')}"] = array(value)
        return found

    def describe(self) -> TraceNotes:
        groups = []
        for group in () if self.optimizer is None else self.optimizer.param_groups:
            settings = {k: v for k, v in group.items() if k != "params" and isinstance(v, bool | int | float | tuple)}
            groups.append(Group([self.names.get(id(p), "?") for p in group["params"]], plain(settings)))
        trained = [name for name, p in self.model.named_parameters() if p.requires_grad]
        return TraceNotes(
            framework="torch",
            versions={"torch": torch.__version__},
            channels="first",
            roundoff=_roundoff(self.model),
            layers=self.layers,
            trainable=trained,
            optimizer="" if self.optimizer is None else type(self.optimizer).__name__,
            groups=groups,
            loss={},
            classes=list(self.classes),
            samples=self.samples,
            steps=[],
        )


def plain(value: Any) -> Any:
    """Hyper-parameters as JSON has them."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return float(value) if isinstance(value, Tensor) else value


def _roundoff(model: nn.Module) -> float:
    """Relative error of an operation in the precision of most weights, with the device's own shortcuts."""
    parameter = next(model.parameters(), None)
    dtype = torch.float32 if parameter is None else parameter.dtype
    found = torch.finfo(dtype).eps / 2
    if parameter is not None and parameter.is_cuda and dtype == torch.float32:
        reduced = torch.get_float32_matmul_precision() != "highest" or torch.backends.cudnn.allow_tf32
        found = max(found, 2.0**-11 if reduced else 0.0)
    return max(found, 2.0**-8 if torch.is_autocast_enabled() else 0.0)
