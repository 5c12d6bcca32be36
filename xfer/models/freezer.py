"""Freeze plans by block, layer, glob or regular expression, and their verification."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from xfer.errors import FrozenError, UnknownNameError, UsageError, check_name
from xfer.models.network import Network, layer_of
from xfer.runtime import html
from xfer.runtime.text import listed
from xfer.specs.lora import is_adapter, is_bias

Only = Literal["biases", "lora"]


@dataclass(frozen=True)
class FreezeReport:
    """Numbers of trainable and frozen parameters, for each block in order."""

    blocks: dict[str, tuple[int, int]]

    @property
    def trainable(self) -> int:
        """Trainable parameters in all."""
        return sum(trainable for trainable, _ in self.blocks.values())

    @property
    def frozen(self) -> int:
        """Frozen parameters in all."""
        return sum(frozen for _, frozen in self.blocks.values())

    def __repr__(self) -> str:
        trained = [block for block, (trainable, _) in self.blocks.items() if trainable]
        whole = self.trainable + self.frozen
        where = f" in {listed(trained)}" if trained else ""
        return f"FreezeReport({self.trainable:,} of {whole:,} parameters trainable{where})"

    def _repr_html_(self) -> str:
        """Trainable and frozen parameters of each block, as a notebook shows them."""
        whole = max(self.trainable + self.frozen, 1)
        rows = [
            (block, f"{trained:,}", f"{kept:,}", trained / max(trained + kept, 1))
            for block, (trained, kept) in self.blocks.items()
        ]
        total = ("total", f"{self.trainable:,}", f"{self.frozen:,}", self.trainable / whole)
        return html.view(
            html.title(f"{self.trainable:,} of {whole:,} parameters are trainable ({self.trainable / whole:.2%})"),
            html.table(("block", "trainable", "frozen", "share trainable"), [*rows, total], bar=3),
        )

    def __str__(self) -> str:
        rows = [f"{'block':<12}{'trainable':>14}{'frozen':>14}"]
        rows += [f"{block:<12}{trained:>14,}{kept:>14,}" for block, (trained, kept) in self.blocks.items()]
        rows += [f"{'total':<12}{self.trainable:>14,}{self.frozen:>14,}"]
        return "\n".join(rows)


class Freezer:
    """The freeze plan of one model.

    Layers are chosen by block (`layer4`), glob over layer names (`layer4.*`, `*bn*`) or regular expression (`re:...`,
    which must match the whole layer name). Frozen means bitwise unchanged, statistics of normalisation included:
    `verify` compares digests taken when the plan was made.
    """

    def __init__(self, model: Network) -> None:
        self._model = model

    def __repr__(self) -> str:
        report = repr(self.report()).removeprefix("FreezeReport(").removesuffix(")")
        return f"Freezer({self._model.name}: {report})"

    def freeze(self, *layers: str) -> FreezeReport:
        """Freeze the layers named, in addition to what is frozen; with no names, everything but the head.

        Raises:
            UnknownNameError: a pattern that matches no block and no layer.
        """
        frozen = self.matching(layers) if layers else {n for n, block in self._blocks().items() if block != "head"}
        return self._apply(set(self._model.trainable) - frozen)

    def unfreeze(
        self, *names: str, last: int | None = None, layers: int | None = None, only: Only | None = None
    ) -> FreezeReport:
        """Make layers trainable, in addition to what is; with no names and numbers, everything.

        Args:
            names: blocks, globs or `re:` patterns.
            last: the last N blocks below the head, and the head.
            layers: the last N layers with parameters, the head's among them.
            only: of these layers the "biases" alone, those of normalisation too (BitFit, Ben Zaken et al. 2021,
                arXiv:2106.10199), or the "lora" adapters. A batch normalisation whose bias is trained is in training
                mode: it uses batch statistics, and its running statistics change.

        Raises:
            UsageError: more blocks or layers than there are, or nothing that `only` names. UnknownNameError: a pattern
            that matches nothing.
        """
        blocks, chosen = self._blocks(), self.matching(names) if names else set()
        if last is not None:
            wanted = self._model.blocks[-_within(last, len(self._model.blocks) - 1, "blocks") - 1 :]
            chosen |= {name for name, block in blocks.items() if block in wanted}
        if layers is not None:
            every = list(dict.fromkeys(map(layer_of, blocks)))
            last_ones = set(every[len(every) - _within(layers, len(every), "layers") :])
            chosen |= {name for name in blocks if layer_of(name) in last_ones}
        if not names and last is None and layers is None:
            chosen = set(blocks)
        return self._apply(set(self._model.trainable) | (self._only(only, chosen) if only else chosen))

    def freeze_norm(self) -> FreezeReport:
        """Freeze every layer of the backbone with running statistics, in addition to what is frozen; they stay."""
        shapes = self._model.shapes()
        norms = {
            n for n, block in self._blocks().items() if f"{layer_of(n)}.running_mean" in shapes and block != "head"
        }
        return self._apply(set(self._model.trainable) - norms)

    def restore(self, trainable: Iterable[str]) -> FreezeReport:
        """Set the plan by tensor names, as a checkpoint keeps it."""
        return self._apply(set(trainable))

    def report(self) -> FreezeReport:
        """Trainable and frozen parameters for each block."""
        counts = {block: [0, 0] for block in self._model.blocks}
        for name, size in self._model.parameters.items():
            counts[self._model.card.block_of(name)][name not in self._model.trainable] += size
        return FreezeReport({block: (trained, kept) for block, (trained, kept) in counts.items()})

    def frozen(self) -> list[str]:
        """Names of all frozen tensors: parameters, and buffers of layers in which nothing is trainable."""
        trainable, units = self._model.trainable, set(self._model.freezable)
        live = {layer_of(name) for name in trainable}
        return [
            name
            for name in self._model.shapes()
            if name not in trainable and (name in units or layer_of(name) not in live)
        ]

    def snapshot(self, names: Iterable[str] | None = None) -> None:
        """Take the present bytes of what is frozen, or of these tensors of it, as those that `verify` expects."""
        if names is None:
            self._model.digests = self._digest(self.frozen())
        else:
            self._model.digests |= self._digest(self._model.digests.keys() & set(names))

    def verify(self) -> int:
        """Verify that every frozen tensor has the bytes it had when the plan was made.

        Returns:
            The number of tensors compared.

        Raises:
            FrozenError: naming the tensors that changed.
        """
        now = self._digest(self.frozen())
        changed = [name for name, digest in self._model.digests.items() if now.get(name) != digest]
        if changed:
            raise FrozenError(f"{len(changed)} frozen tensors have changed: {', '.join(changed[:3])}")
        return len(now)

    def matching(self, patterns: Iterable[str]) -> set[str]:
        """Names of the tensors of all layers that blocks, globs and `re:` patterns choose.

        Raises:
            UnknownNameError: a pattern that matches nothing.
        """
        blocks, found = self._blocks(), set[str]()
        for pattern in patterns:
            hits = {name for name, block in blocks.items() if self._matches(pattern, layer_of(name), block)}
            if not hits:
                layers = dict.fromkeys(map(layer_of, blocks))
                raise UnknownNameError("block or layer", pattern, [*self._model.blocks, *layers])
            found |= hits
        return found

    def _only(self, only: Only, chosen: set[str]) -> set[str]:
        check_name("only", only, get_args(Only))
        found = set(filter(is_bias if only == "biases" else is_adapter, chosen))
        if not found:
            what = "bias" if only == "biases" else "adapter: call model.add_lora() first"
            raise UsageError(f"only={only!r}: these layers of {self._model.name} have no {what}")
        return found

    def _apply(self, trainable: set[str]) -> FreezeReport:
        if frozenset(trainable) != self._model.trainable:
            self._model.set_trainable(frozenset(trainable))
        self.snapshot()
        return self.report()

    def _digest(self, names: Iterable[str]) -> dict[str, bytes]:
        arrays = self._model.read(names)
        return {name: hashlib.sha256(array.tobytes()).digest() for name, array in arrays.items()}

    def _blocks(self) -> dict[str, str]:
        """The block of all that a plan names. A module may hold parameters and blocks, such as the encoder of a ViT."""
        return {name: self._model.card.block_of(name) for name in self._model.freezable}

    def _matches(self, pattern: str, layer: str, block: str) -> bool:
        if pattern in self._model.blocks:
            return block == pattern
        if pattern.startswith("re:"):
            try:
                return re.fullmatch(pattern[3:], layer) is not None
            except re.error as error:
                raise UsageError(f"{pattern!r} is not a regular expression: {error}") from None
        return fnmatch.fnmatchcase(layer, pattern) or layer.startswith(pattern + ".")


def _within(number: int, available: int, what: str) -> int:
    if not 0 <= number <= available:
        raise UsageError(f"cannot take the last {number} {what}: give 0 to {available}")
    return number
