"""One forward pass as it is recorded: calls of modules, and of functions in modules that are not torch's own."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xfer.traces.trace import Layer
from xfer_torch.record_layers import FUNCTIONS, describe_function, describe_module, describe_unknown

if TYPE_CHECKING:
    from xfer_torch.record import TorchRecorder


class Pass:
    """One forward pass: the calls of modules and, where a module is not one of torch's own, of functions.

    An input that another call has made is kept as the name of that output. A tensor is known by its identity and its
    version: a function that works in place makes a new version.
    """

    def __init__(self, recorder: TorchRecorder) -> None:
        self.recorder, self.active = recorder, False
        self.stack: list[bool] = []  # whether the functions that a module calls are seen
        self.made: dict[int, tuple[weakref.ref[Tensor], int, str]] = {}
        self.counts: dict[str, int] = {}
        self.mode: _Functions | None = None
        self.pending: list[tuple[str, list[str], tuple[int, ...]]] = []

    def before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, options: Any) -> None:
            if name == "":
                images = next((x for x in (*inputs, *options.values()) if isinstance(x, Tensor)), None)
                self.active = self.recorder.begin(images)
                if self.active:
                    self.stack, self.made, self.counts, self.pending = [], {}, {}, []
                    self.first = not self.recorder.layers
                    if images is not None:
                        self.made[id(images)] = (weakref.ref(images), images._version, "batch/images")
                    self.mode = _Functions(self)
                    self.mode.__enter__()
            if self.active:
                self.stack.append(_calls_functions(module))
                with torch._C.DisableTorchFunction(), torch.no_grad():
                    tensors = [x for x in (*inputs, *options.values()) if isinstance(x, Tensor)]
                    self.pending.append((name, [self.reference(x) for x in tensors], tuple(x.ndim for x in tensors)))
                    if isinstance(module, nn.modules.batchnorm._BatchNorm) and tensors:
                        self.statistics(name, tensors[0])

        return hook

    def after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not self.active:
                return
            self.stack.pop()
            _, keys, _ = self.pending.pop()
            with torch._C.DisableTorchFunction(), torch.no_grad():
                if name == "":
                    self.end(output)
                elif isinstance(output, Tensor):
                    found = describe_module(module)
                    given = next((x for x in inputs if isinstance(x, Tensor)), None)
                    if found is not None and found.kind == "other" and not found.parameters and given is not None:
                        found = describe_unknown(type(module).__name__, given.shape, output.shape)
                    if found is not None:
                        roles = {r: f"{name}.{t}" for r, t in found.parameters.items()}
                        self.add(name, found.kind, found.config, type(module).__name__, roles, keys, output)

        return hook

    def end(self, output: Any) -> None:
        """The pass is over."""
        self.leave()
        outputs = [x for x in (output if isinstance(output, tuple | list) else (output,)) if isinstance(x, Tensor)]
        if not outputs and hasattr(output, "values"):
            outputs = [x for x in output.values() if isinstance(x, Tensor)]
        for i, each in enumerate(outputs):
            self.recorder.arrays[f"batch/output/{i}"] = array(each)

    def leave(self) -> None:
        """See no functions any more."""
        self.active = False
        if self.mode is not None:
            self.mode.__exit__(None, None, None)
            self.mode = None

    def call(self, function: str, args: Sequence[Any], options: dict[str, Any], keys: list[str], output: Any) -> None:
        """A function was called directly in a module that is not one of torch's own."""
        found = describe_function(function, args, options)
        if found is not None and isinstance(output, Tensor):
            self.add(function, found.kind, found.config, function, {}, keys, output)

    def add(
        self, name: str, kind: str, config: dict[str, Any], native: str, roles: dict[str, str], keys: list[str],
        output: Tensor,
    ) -> None:  # fmt: skip
        count = self.counts[name] = self.counts.get(name, 0) + 1
        unique = name if count == 1 else f"{name}#{count}"
        key = f"out/{unique}"
        self.made[id(output)] = (weakref.ref(output), output._version, key)
        if not self.recorder.written:
            self.recorder.arrays[key] = array(self.recorder.part(output))
        if self.first:
            self.recorder.layers.append(Layer(unique, kind, config, native, roles, keys, key))

    def reference(self, tensor: Tensor) -> str:
        """The key of an input, which is kept if no call before has made it."""
        found = self.made.get(id(tensor))
        if found is not None and found[0]() is tensor and found[1] == tensor._version:
            return found[2]
        key = f"in/{len(self.made)}"
        while key in self.recorder.arrays:
            key += "+"
        self.made[id(tensor)] = (weakref.ref(tensor), tensor._version, key)
        if not self.recorder.written:
            self.recorder.arrays[key] = array(self.recorder.part(tensor))
        return key

    def statistics(self, name: str, x: Tensor) -> None:
        """Mean and biased variance of the whole batch, in float64."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        wide = x.detach().double()
        variance, mean = torch.var_mean(wide, axes, correction=0)
        self.recorder.arrays |= {
            f"batch_mean/{name}": array(mean),
            f"batch_variance/{name}": array(variance),
            f"batch_count/{name}": np.asarray([x.numel() // x.shape[1]]),
        }


class _Functions(TorchFunctionMode):
    """Sees functions that a module calls itself: `F.relu(x)`, `x + y`, `torch.flatten(x, 1)`."""

    def __init__(self, watch: Pass) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        name = FUNCTIONS.get(function)
        seen = name is not None and bool(self.watch.stack) and self.watch.stack[-1]
        keys = []
        if seen:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                lists = [x for a in args if isinstance(a, list | tuple) for x in a]
                keys = [self.watch.reference(x) for x in (*args, *lists) if isinstance(x, Tensor) and x.ndim > 1]
        shaped = tuple(tuple(a.shape) if isinstance(a, Tensor) else a for a in args)
        output = function(*args, **options)
        if seen and keys:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                self.watch.call(str(name), shaped, options, keys, output)
        return output


def _calls_functions(module: nn.Module) -> bool:
    """Whether what a module computes is the functions that it calls, and not what is known of it as a whole."""
    found = describe_module(module)
    own = type(module).__module__.startswith("torch.nn.modules")
    return found is None or (found.kind == "other" and bool(found.parameters) and not own)


def array(value: Any) -> np.ndarray:
    """A copy on the host; bfloat16 is widened."""
    if isinstance(value, Tensor):
        value = value.detach()
        value = value.float() if value.dtype == torch.bfloat16 else value
        return np.array(value.cpu().numpy())
    return np.array(value)
