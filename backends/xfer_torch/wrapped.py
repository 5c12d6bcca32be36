"""BaseModel around any module of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from xfer.errors import UsageError, first_line
from xfer.models.engine import Engine
from xfer.models.network import layer_of
from xfer.models.spec import Description, ModelSpec, block_names
from xfer.specs.inputs import Inputs
from xfer.specs.preprocessing import Preprocessing
from xfer_torch.model import TorchModel, joined
from xfer_torch.nets.head import build_heads
from xfer_torch.nets.layers import Undrawn


class WrappedModel(TorchModel):
    """A user's module, run up to its head; outputs inside it are caught by hooks."""

    def __init__(self, backend: Engine, spec: ModelSpec, native: nn.Module) -> None:
        self.native = native
        super().__init__(backend, spec)

    def build(self) -> None:
        self.native.to(device=self.device, dtype=self.dtype)
        self._parts = {block: self.native.get_submodule(prefix) for block, (prefix, *_) in self.card.blocks.items()}
        self._head = self.native.get_submodule(self.card.head)
        assert isinstance(self._head, nn.Linear)
        if type(self._head) is not nn.Linear or self._head.bias is None:
            self._replace_head(_plain(self._head))

    def build_head(self) -> None:
        with torch.device(self.device), Undrawn():
            self._replace_head(build_heads(self.spec).to(dtype=self.dtype))

    @property
    def entries(self) -> tuple[str, ...]:
        """Only the head is known to follow on another layer."""
        return ("features",)

    def run(self, inputs: Inputs, stages: Sequence[str]) -> dict[str, np.ndarray]:
        self.set_training(False)
        with torch.no_grad():  # not inference_mode: a network may keep a tensor that training reads later
            found = self._pass(inputs, stages, frozen=True)
        for name in stages:
            _check_output(self.name, name, found.get(name))
        return {name: self._array(found[name]) for name in stages}

    def run_gradient(self, inputs: Inputs, block: str, at_logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.set_training(False)
        found: list[Tensor] = []

        def begin(module: nn.Module, given: tuple[Any, ...], output: Any) -> Tensor:
            _check_output(self.name, block, output)
            found.append(output.detach().requires_grad_())
            return found[-1].clone()  # the next layer may change it in place

        hook = self._parts[block].register_forward_hook(begin)
        try:
            logits = self._pass(inputs, ("head",), frozen=False)["head"]
        finally:
            hook.remove()
        if len(found) != 1:
            raise UsageError(f"{self.name} runs block {block!r} {len(found)} times: name one that it runs once")
        gradient = None
        if logits.requires_grad:  # not where the network runs with torch.no_grad
            (gradient,) = torch.autograd.grad(logits, found[0], self._moved(at_logits), allow_unused=True)
        if gradient is None:
            raise UsageError(f"the logits of {self.name} have no gradient at block {block!r}: name another block")
        return self._array(found[0]), self._array(gradient)

    def forward(self, inputs: Inputs) -> list[tuple[float, Tensor]]:
        """Logits (N, K) on the device as training sees them, with the weight of their loss."""
        self.set_training(True)
        return [(1.0, self._pass(inputs, ("head",), frozen=False)["head"])]

    def tensors(self) -> dict[str, Tensor]:
        return dict(_tensors(self.native))

    def buffers(self) -> frozenset[str]:
        return frozenset(name for name, tensor in _tensors(self.native) if not isinstance(tensor, nn.Parameter))

    def modes(self) -> list[tuple[nn.Module, bool]]:
        """As the network's own `train` has it, but modules in which nothing is trained are in inference mode.

        What has no tensors, such as dropout, goes with the module that it is in, where the head counts for itself.
        """
        self.native.train()
        of_head, of_body = {n for n in self.trainable if self.card.block_of(n) == "head"}, set[str]()
        of_body = set(self.trainable) - of_head
        names, found = list(self.tensors()), dict[str, tuple[nn.Module, bool]]()
        for path, module in self.native.named_modules():
            inside = path == self.card.head or path.startswith(f"{self.card.head}.")
            trained = of_head if inside else of_body
            if any(_below(path, name) for name in names):
                live = any(_below(path, name) for name in trained)
            else:
                live = found[layer_of(path) if "." in path else ""][1]
            found[path] = module, live
        return [(module, live and module.training) for module, live in found.values()]

    def _pass(self, inputs: Inputs, stages: Sequence[str], frozen: bool) -> dict[str, Tensor]:
        """Outputs of stages; the network is left at its head, so that what it does after it does not matter."""
        found: dict[str, Tensor] = {}
        x = self.enter(inputs)
        if inputs.after is None:
            found["input"] = x
            blocks = {name: self._parts[name] for name in stages if name in self.card.blocks}
            with self.kernels(frozen):
                found |= _until_head(self.native, self._head, x, blocks)
            x = found["features"]
        if "head" in stages:
            found["head"] = self._head(joined(x.to(self.dtype), self._columns(inputs)))
        return found

    def _replace_head(self, head: nn.Module) -> None:
        """Put it in wherever the network has the old one."""
        places = [path for path, module in self.native.named_modules(remove_duplicate=False) if module is self._head]
        for path in places:
            self.native.set_submodule(path, head)
        self._head, self._modes = head, None


def describe(native: Any, head: str, image_size: int | None) -> Description:
    """What `xfer.wrap` needs to know of a module; it is tried on two random images of the size that it will get."""
    if not isinstance(native, nn.Module):
        raise UsageError(f"a {type(native).__name__} is no torch.nn.Module: give the network itself")
    kind, modules = type(native).__name__, dict(native.named_modules())
    if head not in modules or not head:
        children = ", ".join(name for name, _ in native.named_children())
        raise UsageError(f"{kind} has no module {head!r} for a head: its children are {children}")
    linear = [name for name, module in modules[head].named_modules(prefix=head) if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError(f"head {head!r} is a {type(modules[head]).__name__} without a linear layer: name that layer")
    last = modules[linear[-1]]
    assert isinstance(last, nn.Linear)
    if any(nn.parameter.is_lazy(tensor) for tensor in (*native.parameters(), *native.buffers())):
        raise UsageError(f"{kind} has lazy layers without shapes: run it on an image once, then wrap it")
    if other := [name for name, value in native.state_dict(keep_vars=True).items() if not isinstance(value, Tensor)]:
        raise UsageError(f"{kind} keeps {other[0]!r}, which is no tensor: a run cannot store it")
    preprocessing = _timm(native)
    return Description(
        name=kind,
        blocks=_blocks(native, linear[-1]),
        head=linear[-1],
        feature_dim=last.in_features,
        classes=last.out_features,
        parameters=sum(parameter.numel() for parameter in native.parameters()),
        precision="fp64" if last.weight.dtype == torch.float64 else "fp32",
        ends_with_head=_try(native, last, image_size or (preprocessing.size if preprocessing else 224)),
        preprocessing=preprocessing,
    )


def _try(native: nn.Module, head: nn.Linear, size: int) -> bool:
    """Whether the network's output is that of its head, or its softmax, on random images."""
    kind, like = type(native).__name__, head.weight
    modes = {module: module.training for module in native.modules()}
    seen: list[tuple[Tensor, Tensor]] = []
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    native.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
            given = native(images.to(like))
    except Exception as error:
        raise UsageError(f"{kind} takes no images (N, 3, {size}, {size}): {first_line(error)}") from None
    finally:
        hook.remove()
        for module, mode in modes.items():
            module.training = mode
    if not isinstance(given, Tensor) or given.ndim != 2 or len(given) != 2:
        found = f"a tensor {tuple(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise UsageError(f"{kind} returned {found}: expected a tensor of logits (N, {head.out_features})")
    if len(seen) != 1:
        raise UsageError(f"{kind} runs its head {len(seen)} times: name the layer that gives the logits")
    features, logits = seen[0]
    if features.shape != (2, head.in_features):
        raise UsageError(f"the head of {kind} reads {tuple(features.shape)}: expected (N, {head.in_features})")
    if given.shape != logits.shape:
        return False
    if given.untyped_storage().data_ptr() == logits.untyped_storage().data_ptr():
        return True
    return any(
        torch.allclose(given, end(logits, 1), rtol=1e-3, atol=1e-6) for end in (torch.softmax, torch.log_softmax)
    )


def _check_output(network: str, block: str, output: Any) -> None:
    """Refuse a block that gives no numbers: several tensors, or that is not run at all."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        given = "nothing" if output is None else f"a {type(output).__name__}"
        raise UsageError(f"block {block!r} of {network} gives {given}, not one tensor of numbers: name another block")


class _HeadReachedError(Exception):
    """Raised in the place of the head, with its input."""


def _until_head(native: nn.Module, head: nn.Module, x: Tensor, blocks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The head's input as "features", and the outputs of blocks."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: found.update({name: output})

    def stop(module: nn.Module, inputs: tuple[Any, ...]) -> NoReturn:
        found["features"] = inputs[0]
        raise _HeadReachedError

    hooks = [block.register_forward_hook(keep(name)) for name, block in blocks.items()]
    hooks.append(head.register_forward_pre_hook(stop))
    try:
        native(x)
    except _HeadReachedError:
        return found
    finally:
        for hook in hooks:
            hook.remove()
    raise UsageError(f"{type(native).__name__} does not run its head: name the layer that gives the logits")


def _plain(head: nn.Linear) -> nn.Linear:
    """The same function as a linear layer with a bias and no parametrization."""
    made = nn.Linear(head.in_features, head.out_features, device=head.weight.device, dtype=head.weight.dtype)
    with torch.no_grad():
        made.weight.copy_(head.weight)
        made.bias.copy_(torch.zeros_like(made.bias) if head.bias is None else head.bias)
    return made


def _tensors(native: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All persistent state: parameters and buffers of the state dict, what is shared once."""
    seen = set[int]()
    for name, tensor in native.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def _below(path: str, name: str) -> bool:
    return not path or name.startswith(f"{path}.")


def _blocks(native: nn.Module, head: str) -> dict[str, tuple[str, ...]]:
    """A block a child, in order of registration; tensors outside of any child belong to the first."""
    names = _children(native, head)
    if not names:
        raise UsageError(f"{type(native).__name__} has no layers but its head: nothing to transfer")
    alone = [n for n, _ in _tensors(native) if not any(n.startswith(f"{x}.") for x in (*names, head))]
    prefixes = [(names[0], *alone), *((name,) for name in names[1:])]
    return dict(zip(block_names(names), prefixes, strict=True))


def _children(module: nn.Module, head: str, prefix: str = "") -> list[str]:
    """Children with tensors; those of sequences, and of what holds the head, one by one."""
    found: list[str] = []
    for name, child in module.named_children():
        path = prefix + name
        if path == head or not any(True for _ in _tensors(child)):
            continue
        if isinstance(child, nn.Sequential | nn.ModuleList) or head.startswith(path + "."):
            found += _children(child, head, path + ".")
        else:
            found.append(path)
    return found


def _timm(native: nn.Module) -> Preprocessing | None:
    """The preprocessing that a network of timm says it was trained for."""
    config = getattr(native, "pretrained_cfg", None)
    if not isinstance(config, dict) or "input_size" not in config:
        return None
    size = int(config["input_size"][-1])
    return Preprocessing(
        size,
        int(size / config.get("crop_pct", 1.0)),
        "bicubic" if config.get("interpolation") == "bicubic" else "bilinear",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        squash=config.get("crop_mode") == "squash",
    )
