"""Stage one: are the images that the networks get the same, and if not, what was done to them?"""

from __future__ import annotations

import math

import numpy as np

from xfer.traces.context import Context
from xfer.traces.resampling import recognise
from xfer.traces.view import Array, View, relative

_ALIKE = 0.8  # correlation of two versions of one image
_RANGES = {"[0, 255]": (0.0, 255.0), "[0, 1]": (0.0, 1.0), "[-1, 1]": (-1.0, 1.0)}


def pixels(context: Context) -> None:
    """Compare the batches of all steps; the first that differs says why."""
    for step in context.steps:
        a, b = context.a.images(step), context.b.images(step)
        if a is None or b is None or a.ndim < 2:
            context.notes.append(f"pixels of step {step}: not recorded in both runs")
            continue
        if a.shape[1:] != b.shape[1:]:
            evidence = f"images are {_size(a)} in a and {_size(b)} in b"
            context.add("resize", "images", 1.0, evidence, f"resize to {_size(a)}")
            return
        n = min(len(a), len(b))
        difference = relative(a[:n], b[:n])
        if difference <= 64 * context.u:
            context.compared(difference, "pixels")
            continue
        context.order[step] = order = _order(a, b)
        if order is None:
            context.add("other-images", f"step {step}", difference, "no image of b is one of a",
                        "read the files in one order in both runs, without shuffling")  # fmt: skip
            return
        if not np.array_equal(order, np.arange(len(order))):
            context.add("sample-order", f"step {step}", difference, f"sample 0 of a is sample {order[0]} of b",
                        "shuffle with the same order in both runs")  # fmt: skip
        if step == 0 or not context.has("pixels"):
            _values(context, a[: len(order)].astype(np.float64), b[order].astype(np.float64), step)


def _size(x: Array) -> str:
    return " x ".join(str(n) for n in x.shape[2:] or x.shape[1:])


def _order(a: Array, b: Array) -> Array | None:
    """Which sample of b each of a is, wherever its content was moved to; None if they are of other images."""
    n = min(len(a), len(b))
    table = _likeness(a[:n].astype(np.float64), b[:n].astype(np.float64))
    best, straight = table.argmax(1), np.diag(table)
    if straight.min() > _ALIKE or (n >= 4 and np.mean(best == np.arange(n)) >= 0.75):
        return np.arange(n)
    unique = len(set(best.tolist())) == n
    return best if unique and table.max(1).min() > 0.75 * _ALIKE else None


def _likeness(a: Array, b: Array) -> Array:
    """The peak of the cross-correlation of each sample of a and each of b, or of its mirror image."""
    if a.ndim != 4:
        ours, theirs = (_unit(x.reshape(len(x), -1)) for x in (a, b))
        return np.asarray(np.abs(ours @ theirs.T))
    side = max(max(a.shape[2:]) // 32, 1)
    found = np.zeros((len(a), len(b)))
    ours = _unit(a.mean(1)[:, ::side, ::side])
    for version in (b, b[..., ::-1]):
        theirs = np.conj(np.fft.fft2(_unit(version.mean(1)[:, ::side, ::side])))
        for i, each in enumerate(np.fft.fft2(ours)):
            found[i] = np.maximum(found[i], np.fft.ifft2(each * theirs).real.max((1, 2)))
    return found


def _unit(x: Array) -> Array:
    axes = tuple(range(1, x.ndim))
    x = x - x.mean(axes, keepdims=True)
    return np.asarray(x / np.maximum(np.sqrt((x**2).sum(axes, keepdims=True)), 1e-12))


def _values(context: Context, a: Array, b: Array, step: int) -> None:
    """Name what was done to the same images."""
    difference = relative(a, b)
    if a.ndim != 4:
        context.add("pixels", "inputs", difference, "inputs of the same samples differ", "give the same inputs")
        return
    if _residual(a, b[..., ::-1]) < 0.5 * _residual(a, b):
        b = b[..., ::-1]
        context.add("flip", "images", difference, "a agrees with the mirrored images of b", "x = x[:, :, ::-1]")
    a, b = _moved(context, a, b, difference)
    swapped = b[:, ::-1]
    straight, reverse = _residual(a, b), _residual(a, swapped)
    tiny = 1e3 * context.u
    if a.shape[1] == 3 and reverse < 0.7 * straight and straight > tiny:
        _channel_order(context, a, b, reverse, difference)
        b = swapped
        if _is_swap_alone(a, b):
            _rest(context, a, _affine(a, b)[0], difference)
            return
    fitted, gain, shift = _affine(a, b)
    _scale(context, a, b, gain, shift, exact=_spread(a, fitted) <= tiny)
    _rest(context, a, fitted, difference)


def _moved(context: Context, a: Array, b: Array, difference: float) -> tuple[Array, Array]:
    """What both images show, where one shows another part."""
    dy, dx = _shift(a, b)
    if not (dy or dx):
        return a, b
    ours, theirs = _overlap(a, b, dy, dx)
    before = min(_residual(a, b), _residual(a, b[:, ::-1]))
    after = min(_residual(ours, theirs), _residual(ours, theirs[:, ::-1]))
    if after >= 0.5 * before:
        return a, b
    evidence = f"moved by ({dy}, {dx}) pixels {after:.1e} of the variation is left, otherwise {before:.1e}"
    context.add("crop", "images", difference, evidence, "crop the same part: torchvision crops the centre")
    return ours, theirs


def _channel_order(context: Context, a: Array, b: Array, residual: float, difference: float) -> None:
    evidence = (
        f"with the channels of b reversed {residual:.1e} of a's variation is left, otherwise {_residual(a, b):.1e}"
    )
    line = "x = x[..., ::-1]" if context.b.channels_last else "x = x[:, [2, 1, 0]]"
    context.add("channel-order", "images", difference, evidence, f"{line}  # BGR and RGB, before the normalisation")


def _affine(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The best b * gain + shift for each channel, and gain and shift."""
    axes = (0, 2, 3)
    x, y = b - b.mean(axes, keepdims=True), a - a.mean(axes, keepdims=True)
    gain = (x * y).sum(axes, keepdims=True) / np.maximum((x * x).sum(axes, keepdims=True), 1e-300)
    shift = a.mean(axes, keepdims=True) - gain * b.mean(axes, keepdims=True)
    return b * gain + shift, gain.ravel(), shift.ravel()


def _spread(a: Array, fitted: Array) -> float:
    return float(np.std(a - fitted) / max(np.std(a - a.mean((0, 2, 3), keepdims=True)), 1e-300))


def _residual(a: Array, b: Array) -> float:
    """Which part of a's variation is left after the best linear fit of b."""
    return _spread(a, _affine(a, b)[0])


def _is_swap_alone(a: Array, b: Array) -> bool:
    """Whether gains and shifts come from a mean and deviation that were applied by the place of a channel."""
    _, gain, shift = _affine(a, b)
    same = np.allclose(gain, 1, atol=1e-3) and np.allclose(shift, 0, atol=1e-3 * max(np.std(a), 1e-12))
    mirrored = (
        abs(gain[1] - 1) < 1e-3
        and abs(gain[0] * gain[2] - 1) < 1e-3
        and abs(shift[0] + shift[2] * gain[0]) < 1e-3 * max(np.std(a), abs(shift[0]))
    )
    return bool(same or mirrored)


def _scale(context: Context, a: Array, b: Array, gain: Array, shift: Array, exact: bool) -> None:
    """Another range or normalisation, if gains are not 1 or shifts not 0."""
    if not exact:  # resampled images have another variance: coarse means are as they were
        gain, shift = _moments(_coarse(a), _coarse(b))
    slack = 1e-4 if exact else 0.25
    unit = max(float(np.std(a)), 1e-12)
    moved = shift if exact else a.mean((0, 2, 3)) - b.mean((0, 2, 3))
    if np.allclose(gain, 1, atol=slack) and np.allclose(moved, 0, atol=slack * unit):
        return
    ours, theirs = _range(a), _range(b)
    uniform = np.ptp(gain) <= slack * abs(gain.mean()) and np.ptp(shift) <= slack * max(unit, abs(shift.mean()))
    cause = "value-range" if uniform and ours and theirs and ours != theirs else "normalisation"
    if cause == "value-range":
        evidence = f"values of a fill {ours}, those of b {theirs}; a = {gain.mean():.6g} * b + {shift.mean():.6g}"
        remedy = f"x = x * {gain.mean():.8g} + {shift.mean():.8g}"
    else:
        evidence = f"a = {_list(gain)} * b + {_list(shift)} for each channel"
        if theirs == "[0, 1]":
            evidence += f": a is (b - {_list(-shift / gain)}) / {_list(1 / gain)}"
        shape = "" if context.b.channels_last else ".reshape(3, 1, 1)"
        remedy = f"x = x * np.array({_list(gain)}){shape} + np.array({_list(shift)}){shape}"
    context.add(cause, "images", relative(a, b), evidence, remedy)


def _moments(a: Array, b: Array) -> tuple[Array, Array]:
    """Gain and shift of each channel by means and deviations alone: right also where content was moved."""
    gain = a.std((0, 2, 3)) / np.maximum(b.std((0, 2, 3)), 1e-300)
    return gain, a.mean((0, 2, 3)) - gain * b.mean((0, 2, 3))


def _range(x: Array) -> str:
    """The usual range that values fill; "" where they are of no such range."""
    low, high = float(x.min()), float(x.max())
    for name in ("[-1, 1]", "[0, 1]", "[0, 255]"):
        first, last = _RANGES[name]
        slack = 1e-3 * (last - first)
        inside = low >= first - slack and high <= last + slack
        if inside and high - low > 0.3 * (last - first) and (first == 0 or low < -slack):
            return name
    return ""


def _list(numbers: Array) -> str:
    return "[" + ", ".join(f"{number:.6g}" for number in numbers) + "]"


def _coarse(x: Array) -> Array:
    """Means of squares of an eighth of the size."""
    side = max(min(x.shape[2:]) // 8, 2)
    h, w = (n // side * side for n in x.shape[2:])
    return np.asarray(x[:, :, :h, :w].reshape(*x.shape[:2], h // side, side, w // side, side).mean((3, 5)))


def _rest(context: Context, a: Array, fitted: Array, difference: float) -> None:
    """What is left when channels and values agree: crop, decoder, interpolation."""
    left = _spread(a, fitted)
    if left <= 1e3 * context.u:
        return
    grey_level = float(np.ptp(a)) / 255
    worst, usual = np.abs(a - fitted).max(), np.abs(a - fitted).mean()
    ours, theirs = (_recognised(view, x) for view, x in ((context.a, a), (context.b, fitted)))
    if ours and theirs and ours != theirs:
        context.add("resize", "images", difference, f"a is {ours}, b is {theirs}", f"resize as a does: {ours}")
    elif worst <= 4 * grey_level and usual <= grey_level:
        evidence = (
            f"pixels differ by {usual / grey_level:.2g} grey levels in the mean, {worst / grey_level:.2g} at most"
        )
        context.add(
            "decoder", "images", difference, evidence, "decode with the same library: Pillow, or cv2, or TensorFlow"
        )
    else:
        sharp = _sharpness(fitted) / max(_sharpness(a), 1e-300)
        said = "sharper: nearest, or not antialiased" if sharp > 1 else "smoother: antialiased, or a wider kernel"
        fit = f"{left:.1e} of the variation is left after the best fit of each channel"
        evidence = f"{fit}; b is {said} ({sharp:.2f} times the gradient)"
        context.add("resize", "images", difference, evidence, "resize with the same interpolation and antialiasing")


def _recognised(view: View, x: Array) -> str:
    raw = view.raw(0)
    return recognise(raw, x) if raw else ""


def _shift(a: Array, b: Array) -> tuple[int, int]:
    """By how many pixels b is moved, by the peak of the cross-correlation."""
    x, y = (v.mean((0, 1)) if len(v) == 1 else v.mean(1) for v in (a, b))
    x, y = (np.atleast_3d(v.T).T if v.ndim == 2 else v for v in (x, y))
    x, y = (v - v.mean((1, 2), keepdims=True) for v in (x, y))
    peak = np.fft.ifft2((np.fft.fft2(x) * np.conj(np.fft.fft2(y))).sum(0)).real
    dy, dx = (int(i) for i in np.unravel_index(int(peak.argmax()), peak.shape))
    h, w = peak.shape
    dy, dx = dy - h if dy > h // 2 else dy, dx - w if dx > w // 2 else dx
    return (dy, dx) if max(abs(dy), abs(dx)) <= min(h, w) // 3 else (0, 0)


def _overlap(a: Array, b: Array, dy: int, dx: int) -> tuple[Array, Array]:
    h, w = a.shape[2:]
    ours = a[:, :, max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)]
    theirs = b[:, :, max(-dy, 0) : h + min(-dy, 0), max(-dx, 0) : w + min(-dx, 0)]
    return ours, theirs


def _sharpness(x: Array) -> float:
    return math.sqrt(float(np.mean(np.diff(x, axis=2) ** 2) + np.mean(np.diff(x, axis=3) ** 2)))
