"""The largest batch size that fits into memory."""

from __future__ import annotations

from collections.abc import Callable

from xfer.errors import DataError
from xfer.runtime.profiling import available_memory, peak_memory, reset_peak

MOST = 256
UPDATES = 16  # that an epoch shall have: a batch that takes in half of the data set learns nothing
_SPARE = 0.25


def largest_batch(
    step: Callable[[int], object], images: int, *, on_host: bool, out_of_memory: Callable[[Exception], bool]
) -> int:
    """The largest power of two that fits into memory, leaves an epoch `UPDATES` updates, and is at most `MOST`.

    On an accelerator batches are doubled until one does not fit. A host that runs out of memory ends the process, so
    there the memory of two small batches is measured, and what a larger one takes is computed from them.

    Args:
        step: makes a training step of so many images that changes nothing.
        images: of an epoch.
        on_host: whether the step takes its memory from the host.
        out_of_memory: whether an error says that memory ran out.

    Raises:
        DataError: not even one image fits.
    """
    wanted = min(MOST, _power_of_two(max(1, images // UPDATES)))
    return _by_measure(step, wanted) if on_host else _by_trial(step, wanted, out_of_memory)


def largest_pass(run: Callable[[int], object], out_of_memory: Callable[[Exception], bool]) -> int:
    """The largest power of two of images, at most `MOST`, whose forward pass fits into an accelerator's memory.

    Args:
        run: makes a pass of so many images.
        out_of_memory: whether an error says that memory ran out.

    Raises:
        DataError: not even one image fits.
    """
    return _by_trial(run, MOST, out_of_memory)


def _by_measure(step: Callable[[int], object], wanted: int) -> int:
    few, more = 2, 8
    room = available_memory()
    if wanted <= few:
        return wanted
    step(few)  # what is made once, such as compiled functions and workspaces
    peaks = []
    for number in (few, more):
        reset_peak()
        step(number)
        peaks.append(peak_memory())
    of_image = max((peaks[1] - peaks[0]) / (more - few), 1.0)
    return min(wanted, _power_of_two(max(1, int(room * (1 - _SPARE) / of_image))))


def _by_trial(step: Callable[[int], object], wanted: int, out_of_memory: Callable[[Exception], bool]) -> int:
    fits, number = 0, 1
    while number <= wanted:
        try:
            step(number)
        except Exception as error:
            if not out_of_memory(error):
                raise
            break
        fits, number = number, number * 2
    if not fits:
        raise DataError("not even one image fits into memory: give a smaller image_size, or unfreeze fewer blocks")
    return fits


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1)
