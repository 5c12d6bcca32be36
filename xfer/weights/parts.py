"""The state dict that is meant, of all that a checkpoint of a training script holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from xfer.runtime.progress import say
from xfer.weights.malformed import MalformedError

Value = TypeVar("Value")

# Where training scripts put state dicts. An average of weights is taken before what it averages: it is what such a
# script evaluates (torchvision's references), and what timm loads (timm.models.load_checkpoint, use_ema=True).
AVERAGES = ("model_ema", "state_dict_ema", "ema_state_dict", "model_ema_state_dict", "ema")
KEYS = (*AVERAGES, "state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
_SHOWN = 4


def state_dict(
    loaded: Any, is_tensor: Callable[[Any], bool], part: str, source: str, skipped: list[str]
) -> dict[str, Any]:
    """The tensors by name of one state dict in a checkpoint; other values beside them are left out.

    What was chosen is said on stderr where there was a choice.

    Args:
        loaded: the checkpoint: a state dict, or dictionaries in which there are some, two levels deep.
        is_tensor: whether a value is a tensor.
        part: the state dict that is wanted, by its key ("model", or "ema.module" in two levels), or a prefix of the
            names in it ("state_dict.student"), or in the one that is taken by default ("student"); "" for that.
        source: the file, for messages.
        skipped: names of objects that the file holds and that were not made, for messages.

    Raises:
        MalformedError: there is none, none of that name, or several of which none is usual.
    """
    found = _tables(loaded, is_tensor)
    for path in sorted(found, key=len, reverse=True):
        if path and f"{part}.".startswith(f"{path}."):
            rest = part[len(path) + 1 :]
            return with_prefix(found[path], rest) if rest else found[path]
    if not found:
        wants = f"it asks for {skipped[0]}, which no weights file needs" if skipped else "it has no state dict"
        raise MalformedError(f"{wants}: save model.state_dict(), not the model or an optimizer")
    usual = sorted((path for path in found if all(key in KEYS for key in path.split("."))), key=_rank)
    chosen = usual[0] if usual else "" if "" in found else None
    if chosen is None:
        example = f"weights='{source}#{next(iter(found))}'"
        raise MalformedError(f"it has tensors under {listed(list(found))}, no usual key: choose with {example}")
    if part:
        return _below(found, chosen, part)
    if len(usual) > 1:
        others = f"weights='{source}#{usual[1]}' takes another" if source else ""
        say(f"{source} has {listed(usual)}: {chosen} is taken; {others}")
    return found[chosen]


def with_prefix(named: dict[str, Value], part: str) -> dict[str, Value]:
    """The entries whose names begin with `part` and a dot.

    Raises:
        MalformedError: there is none.
    """
    found = {name: value for name, value in named.items() if name.startswith(f"{part}.")}
    if not found:
        raise MalformedError(f"it has nothing under {part[:80]!r}: its tensors begin with {listed(list(named))}")
    return found


def _below(found: dict[str, dict[str, Any]], chosen: str, part: str) -> dict[str, Any]:
    try:
        return with_prefix(found[chosen], part)
    except MalformedError as error:
        keys = [path for path in found if path]
        raise MalformedError(f"{error}" + (f"; it has {listed(keys)}" if keys else "")) from None


def _tables(loaded: Any, is_tensor: Callable[[Any], bool]) -> dict[str, dict[str, Any]]:
    """The dictionaries that have tensors, by the keys that lead to them; "" for the checkpoint itself."""
    found: dict[str, dict[str, Any]] = {}
    level = {"": loaded}
    for _ in range(3):
        inner: dict[str, Any] = {}
        for path, table in level.items():
            if not isinstance(table, dict):
                continue
            if tensors := {str(name): value for name, value in table.items() if is_tensor(value)}:
                found[path] = tensors
            inner |= {f"{path}.{key}".lstrip("."): v for key, v in table.items() if isinstance(v, dict)}
        level = inner
    return found


def _rank(path: str) -> tuple[int, int]:
    """The order in which state dicts are taken: by their first keys, the outer before the inner."""
    keys = path.split(".")
    return KEYS.index(keys[0]), len(keys)


def listed(names: list[str]) -> str:
    """The first of the names, each once, for a message."""
    names = list(dict.fromkeys(names))
    return ", ".join(name[:80] or "itself" for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
