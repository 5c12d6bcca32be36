"""Which parts are exchanged, and which of them a run does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from xfer.data.transforms.augment import Augment
from xfer.errors import UnknownNameError, UsageError
from xfer.models.base_model import BaseModel
from xfer.specs.numerics import BUFFER, FRAMEWORKS, KERAS_DECAY, PARTS, Part, Value
from xfer.specs.settings import RunSettings


@dataclass(frozen=True)
class Exchange:
    """A part whose value becomes another.

    Args:
        part: which.
        before, after: its values.
    """

    part: Part
    before: Value
    after: Value

    @property
    def words(self) -> tuple[str, str]:
        """Both values in words."""
        known = dict(zip((self.part.torch, self.part.keras), self.part.what, strict=True))
        return known.get(self.before, str(self.before)), known.get(self.after, str(self.after))

    @property
    def sources(self) -> str:
        """Where both habits are written."""
        return "; ".join(self.part.source)


def exchanges(before: str, after: str, parts: str | Iterable[str] | None) -> list[Exchange]:
    """The parts that are named, or all, with the habits of two frameworks.

    Args:
        before, after: "torch" or "keras", or their aliases.
        parts: names of `PARTS`, or NAME=VALUE for another value than the second framework's; also as one text with
            commas.

    Raises:
        UnknownNameError: no such part, value or framework. UsageError: twice the same framework, or a part that is
        given twice or stays what it is.
    """
    for framework in (before, after):
        if framework not in FRAMEWORKS:
            raise UnknownNameError("framework", framework, FRAMEWORKS)
    first, second = FRAMEWORKS[before], FRAMEWORKS[after]
    if first == second:
        raise UsageError(f"from={before} and to={after} are the same habits: give torch and keras")
    given = parts.split(",") if isinstance(parts, str) else list(PARTS if parts is None else parts)
    found: dict[str, Exchange] = {}
    for each in (text.strip() for text in given):
        name, equals, value = each.partition("=")
        if name not in PARTS:
            raise UnknownNameError("part", name, PARTS)
        if name in found:
            raise UsageError(f"part {name} is given twice: give it once")
        part = PARTS[name]
        found[name] = Exchange(part, part.of(first), part.parse(value) if equals else part.of(second))
        if found[name].before == found[name].after:
            raise UsageError(f"part {each} is {before}'s habit already: give another value")
    return list(found.values())


@dataclass(frozen=True)
class Run:
    """What decides whether a run has a part.

    Args:
        config: its settings.
        images: how many it is trained on.
        model: its network.
    """

    config: RunSettings
    images: int
    model: BaseModel

    @property
    def has_norm(self) -> bool:
        """Whether there is batch normalisation."""
        return any(name.endswith(".running_var") for name in self.model.shapes())

    @property
    def trains_norm(self) -> bool:
        """Whether batch normalisation is trained in a phase."""
        config, blocks = self.config, self.model.blocks
        if config.hidden:
            return True
        live = blocks[-1 - config.unfreeze : -1] if config.fine_tune and config.train_norm else ()
        return any(self.model.card.block_of(n) in live for n in self.model.shapes() if n.endswith(".running_var"))

    @property
    def rate_changes(self) -> bool:
        """Whether the learning rate is another at some update."""
        config = self.config
        return config.schedule != "constant" or config.warmup > 0 or bool(config.epochs and config.fine_tune)

    def lacks(self, part: Part) -> str:
        """Why the part does not apply to it; empty where it does, as far as the settings say."""
        check = _LACKS.get(part.name)
        return check(self) if check else ""


def _norm(run: Run) -> str:
    return "" if run.has_norm else f"{run.model.name} has no batch normalisation"


def _trained_norm(run: Run) -> str:
    return _norm(run) or ("" if run.trains_norm else "no batch normalisation is trained")


def _optimizer(run: Run) -> str:
    config = run.config
    if config.optimizer != "sgd":
        return ""
    if not config.momentum:
        return "without momentum the two rules of SGD are one"
    return "" if run.rate_changes else "the rate never changes, and then the two rules of SGD are one"


def _decay(run: Run) -> str:
    config = run.config
    if config.optimizer == "adamw":
        return "" if config.weight_decay is None else "AdamW decouples in both, and weight_decay is given"
    assert config.optimizer not in KERAS_DECAY
    return "" if config.weight_decay else f"{config.optimizer} has no weight decay, in neither by default"


def _reduction(run: Run) -> str:
    return "the loss has no class weights" if run.config.class_weights == "none" else ""


def _last_batch(run: Run) -> str:
    size = run.config.batch_size
    assert isinstance(size, int)
    if run.images <= size:
        return f"{run.images} images are one batch"
    return "" if run.images % size else f"{run.images} images fill all batches of {size}"


def _shuffle(run: Run) -> str:
    size = run.config.batch_size
    assert isinstance(size, int)
    return "" if run.images > BUFFER * size else f"{run.images} images fit into the buffer of {BUFFER * size}"


def _augmentation(run: Run) -> str:
    return "" if Augment.parse(run.config.augment).crop is not None else "there is no random crop"


_LACKS: dict[str, Callable[[Run], str]] = {
    "norm-eps": _norm,
    "norm-momentum": _trained_norm,
    "norm-variance": _trained_norm,
    "optimizer": _optimizer,
    "decay": _decay,
    "reduction": _reduction,
    "last-batch": _last_batch,
    "shuffle": _shuffle,
    "augmentation-order": _augmentation,
}
