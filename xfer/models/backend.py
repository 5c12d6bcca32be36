"""The contract of a backend, and finding one by name.

A backend is registered under the entry-point group `xfer.backends` and imported only when it is asked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from xfer.errors import BackendError, UnknownNameError
from xfer.models.base_model import BaseModel
from xfer.models.engine import Engine
from xfer.models.moving_average import MovingAverage
from xfer.models.spec import Description, ModelSpec
from xfer.models.stepper import Stepper
from xfer.runtime.progress import step
from xfer.specs.exported import ExportJob
from xfer.specs.update import UpdateSpec
from xfer.zoo import cards

GROUP = "xfer.backends"

# Which is loaded where none is named: the first of them that is installed, then others by name.
ORDER = ("torch", "tensorflow", "jax")

ALIASES = {"keras": "tensorflow", "tf": "tensorflow", "pytorch": "torch"}


class Backend(Engine):
    """A framework that builds models and steppers.

    Attributes:
        families: names of the families of architectures that it builds.
        formats: names of the formats of `xfer.export` that it writes.
    """

    families: Collection[str]
    formats: Collection[str] = ()

    def architectures(self) -> Sequence[str]:
        """Names of the cards that this backend can build."""
        return [card.name for card in cards() if card.family in self.families]

    def build(self, spec: ModelSpec) -> BaseModel:
        """A model with undefined weights, everything trainable.

        Raises:
            BackendError: an architecture or a precision that this backend does not have.
        """
        if spec.card.family not in self.families:
            raise BackendError(
                f"backend {self.name!r} has no {spec.card.name}: it has {', '.join(self.architectures())}"
            )
        return self.build_network(spec)

    @abstractmethod
    def build_network(self, spec: ModelSpec) -> BaseModel:
        """See `build`; the family is one of `families`."""

    @abstractmethod
    def stepper(self, model: BaseModel, update: UpdateSpec) -> Stepper:
        """What trains `model` by one update at a time; see `Stepper`."""

    def unsynchronised(self, model: BaseModel, layers: Collection[str]) -> Collection[str]:
        """Those of the layers of batch normalisation in which several processes would see each its share of a batch.

        A backend that synchronises none keeps this.

        Args:
            model: which is to be trained.
            layers: by canonical name, those of it whose statistics are trained.
        """
        return layers

    def moving_average(self, model: BaseModel, decay: float) -> MovingAverage:
        """An exponential moving average of tensors of a model; a backend whose tensors are on the host keeps this."""
        return MovingAverage(model, decay)

    def export(self, model: BaseModel, job: ExportJob) -> None:
        """Write a file of one of `formats`; the model computes in float32 on the CPU.

        Raises:
            UsageError: the format cannot hold this model. BackendError: a converter failed.
        """
        raise BackendError(f"backend {self.name!r} writes no {job.format}")

    def describe(self, native: Any, head: str, image_size: int | None) -> Description:
        """What `xfer.wrap` needs to know of a native network; a backend that wraps none keeps this.

        Raises:
            UsageError: not a network of this framework; no linear layer in what `head` names; or a network that does
                not take RGB images (of `image_size`, if it takes any), or gives something else than logits.
        """
        raise BackendError(f"backend {self.name!r} wraps no networks")

    def wrap(self, native: Any, spec: ModelSpec) -> BaseModel:
        """A model around a native network that `describe` has described, with its weights."""
        raise BackendError(f"backend {self.name!r} wraps no networks")


def registered() -> dict[str, EntryPoint]:
    """Entry points of all registered backends by name, none of them imported."""
    return {point.name: point for point in entry_points(group=GROUP)}


def get_backend(backend: str | Engine) -> Backend:
    """The backend of that name (`torch`, an alias, a third party's, `module:Class`), or `backend` itself.

    Raises:
        UnknownNameError: no backend of that name is registered.
        BackendError: it is registered, but its framework is not installed or does not import.
    """
    if isinstance(backend, Engine):
        assert isinstance(backend, Backend), f"{backend.name} builds no models"
        return backend
    points = registered()
    name = ALIASES.get(backend, backend)
    if ":" in name:
        points = {name: EntryPoint(name, name, GROUP)}
    if name not in points:
        raise UnknownNameError("backend", backend, [*points, *ALIASES])
    try:
        with step(f"loading {name}"):
            made = points[name].load()()
    except ModuleNotFoundError as missing:
        # JAX says in words of its own, and without a name, that jaxlib is missing.
        said = f"needs {missing.name}" if missing.name else f"does not import ({str(missing).partition('. ')[0]})"
        raise BackendError(f"backend {name!r} {said}: {install_hint(name, str(missing.name))}") from None
    except ImportError as broken:
        raise BackendError(f"backend {name!r} is installed but does not import: {broken}") from broken
    assert isinstance(made, Backend), f"entry point {name!r} of group {GROUP!r} is not an xfer.Backend"
    return made


def any_backend(backend: str | Engine | None = None, preferred: str | None = None) -> Backend:
    """The backend of that name; for None the preferred one if it is installed, else the first that is.

    Raises:
        BackendError: no framework is installed.
    """
    if backend is not None:
        return get_backend(backend)
    places = {name: place for place, name in enumerate(ORDER)}
    for name in sorted(registered(), key=lambda name: (name != preferred, places.get(name, len(ORDER)), name)):
        try:
            return get_backend(name)
        except BackendError:
            continue
    raise BackendError('no framework is installed: pip install "xfer-learn[torch]", or with [tensorflow] or [jax]')


def install_hint(name: str, missing: str) -> str:
    """The command that installs what backend `name` needs: the extra of its distribution, or the missing module."""
    point = registered().get(name)
    return f'pip install "{point.dist.name}[{name}]"' if point and point.dist else f"pip install {missing}"


def backends() -> tuple[str, ...]:
    """Names of the registered backends, installed frameworks or not."""
    return tuple(sorted(registered()))
