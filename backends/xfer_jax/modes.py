"""What JAX computes in: precision, device, and none of the modes that the user has set.

JAX keeps float64 only where `jax_enable_x64` is set, and Keras narrows it on JAX by a table of its own besides. Both
are set for the passes of a float64 model alone, so float32 models, and the user's own code, stay in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

from xfer.runtime.shared_mode import SharedMode


def device_of(name: str) -> Any:
    """JAX's device of a canonical name, among those of this process."""
    kind, _, index = name.partition(":")
    return jax.local_devices(backend="gpu" if kind == "cuda" else kind)[int(index or 0)]


def gpus() -> Sequence[Any]:
    """The GPUs of this process."""
    try:
        return jax.local_devices(backend="gpu")
    except RuntimeError:  # there is none, or no jaxlib for it
        return []


@contextmanager
def modes(device: str, double: bool) -> Iterator[None]:
    """The modes of a pass on a device; with float64 or without."""
    with ExitStack() as stack:
        for mode in (
            jax.enable_x64(double),
            jax.default_device(device_of(device)),
            jax.default_matmul_precision("highest"),  # float32 with all 23 bits of the mantissa on a GPU
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            jax.disable_jit(False),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.transfer_guard("allow"),
        ):
            stack.enter_context(mode)
        if double:  # a float32 model may run in another thread meanwhile: it has no float64 to keep
            stack.enter_context(_float64_in_keras(True))
        yield


def _keep_float64() -> Callable[[], None]:
    """What Keras promotes to float64 stays float64; returns what restores it."""
    before = BIT64_TO_BIT32_DTYPE["float64"]
    BIT64_TO_BIT32_DTYPE["float64"] = "float64"

    def restore() -> None:
        BIT64_TO_BIT32_DTYPE["float64"] = before

    return restore


_float64_in_keras = SharedMode(_keep_float64)
