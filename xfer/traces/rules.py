"""Update rules of PyTorch and Keras in NumPy, and which of them the recorded weights follow.

Sources: torch/optim/{sgd,adam,adamw,rmsprop}.py; keras/src/optimizers/{base_optimizer,sgd,adam,rmsprop}.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xfer.traces.gradients import applied
from xfer.traces.view import Array, View

SLOTS = {
    ("torch", "sgd"): ("momentum_buffer",),
    ("torch", "adam"): ("exp_avg", "exp_avg_sq"),
    ("torch", "rmsprop"): ("square_avg",),
    ("keras", "sgd"): ("momentums",),
    ("keras", "adam"): ("momentums", "velocities"),
    ("keras", "rmsprop"): ("velocities",),
}
_NAMES = {"SGD": "sgd", "Adam": "adam", "AdamW": "adam", "RMSprop": "rmsprop"}


@dataclass(frozen=True)
class Rule:
    """How a tensor is updated.

    Attributes:
        name: "sgd", "adam", "rmsprop", or the class of another optimizer.
        form: "torch" or "keras": where the rate and epsilon stand in the formulas.
        momentum, dampening, nesterov: of SGD.
        betas: of Adam; of RMSprop the first.
        eps: of Adam and RMSprop.
        decay: of the weights.
        coupled: whether it is added to the gradient, or else taken off the weights times the rate.
        amsgrad: of Adam.
    """

    name: str
    form: str
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.0, 0.0)
    eps: float = 0.0
    decay: float = 0.0
    coupled: bool = True
    amsgrad: bool = False

    @property
    def known(self) -> bool:
        """Whether its formulas are here."""
        return (self.form, self.name) in SLOTS and not self.amsgrad

    def step(self, w: Array, g: Array, slots: Sequence[Array], rate: float, count: int) -> tuple[Array, list[Array]]:
        """Weights and slots after an update; `count` is that of the updates before it."""
        if self.decay and self.coupled:
            g = g + self.decay * w
        elif self.decay:
            w = w * (1 - rate * self.decay)
        return {"sgd": self._sgd, "adam": self._adam, "rmsprop": self._rmsprop}[self.name](w, g, slots, rate, count)

    def _sgd(self, w: Array, g: Array, slots: Sequence[Array], rate: float, count: int) -> tuple[Array, list[Array]]:
        if not self.momentum:
            return w - rate * g, list(slots)
        if self.form == "keras":
            m = self.momentum * slots[0] - rate * g
            return w + (self.momentum * m - rate * g if self.nesterov else m), [m]
        first = count == 0 and not slots[0].any()
        m = g if first else self.momentum * slots[0] + (1 - self.dampening) * g
        return w - rate * (g + self.momentum * m if self.nesterov else m), [m]

    def _adam(self, w: Array, g: Array, slots: Sequence[Array], rate: float, count: int) -> tuple[Array, list[Array]]:
        beta1, beta2 = self.betas
        m = slots[0] + (1 - beta1) * (g - slots[0])
        v = slots[1] + (1 - beta2) * (g * g - slots[1])
        return w - self.moved(m, v, rate, count), [m, v]

    def moved(self, m: Array, v: Array, rate: float, count: int) -> Array:
        """Adam's step from its slots after the update."""
        first, second = (1 - beta ** (count + 1) for beta in self.betas)
        if self.form == "keras":  # epsilon is "epsilon hat" of Kingma and Ba 2014, before section 2.1
            return np.asarray(rate * math.sqrt(second) / first * m / (np.sqrt(v) + self.eps))
        return np.asarray(rate / first * m / (np.sqrt(v) / math.sqrt(second) + self.eps))

    def _rmsprop(
        self, w: Array, g: Array, slots: Sequence[Array], rate: float, count: int
    ) -> tuple[Array, list[Array]]:
        s = self.betas[0] * slots[0] + (1 - self.betas[0]) * g * g
        return w - rate * g / (np.sqrt(s + self.eps) if self.form == "keras" else np.sqrt(s) + self.eps), [s]

    def said(self, field: str) -> str:
        """An attribute in words."""
        if field == "eps":
            place = (
                "added to the root of the second moment before its correction"
                if self.form == "keras"
                else "added after the correction"
            )
            return f"{self.eps:g}, {place}" if self.name == "adam" else f"{self.eps:g}"
        if field == "decay":
            return (
                f"{self.decay:g}, {'added to the gradient' if self.coupled else 'apart from the gradient'}"
                if self.decay
                else "none"
            )
        return str(getattr(self, field))


def rule_of(view: View, name: str) -> tuple[Rule, list[float]]:
    """The rule of a tensor by the optimizer's settings, and the rate of each step."""
    place = next((i for i, group in enumerate(view.notes.groups) if name in group.tensors), 0)
    settings: dict[str, Any] = view.notes.groups[place].settings if view.notes.groups else {}
    rates = [step.notes.rates[place] if place < len(step.notes.rates) else math.nan for step in view.steps]
    known = _NAMES.get(view.notes.optimizer, view.notes.optimizer)
    if view.keras:
        decay = 0.0 if name in (settings.get("no_decay") or ()) else float(settings.get("weight_decay") or 0.0)
        betas = (settings.get("beta_1") or settings.get("rho") or 0.0, settings.get("beta_2") or 0.0)
        odd = settings.get("use_ema") or settings.get("gradient_accumulation_steps") or settings.get("centered")
        return Rule(
            name=view.notes.optimizer if odd or (known == "rmsprop" and settings.get("momentum")) else known,
            form="keras",
            momentum=float(settings.get("momentum") or 0.0) if known == "sgd" else 0.0,
            nesterov=bool(settings.get("nesterov")),
            betas=(float(betas[0]), float(betas[1])),
            eps=float(settings.get("epsilon") or 0.0),
            decay=decay,
            coupled=False,
            amsgrad=bool(settings.get("amsgrad")),
        ), rates
    betas = settings.get("betas") or (settings.get("alpha") or 0.0, 0.0)
    odd = (known == "rmsprop" and (settings.get("momentum") or settings.get("centered"))) or settings.get("maximize")
    return Rule(
        name=view.notes.optimizer if odd else known,
        form="torch",
        momentum=float(settings.get("momentum") or 0.0) if known == "sgd" else 0.0,
        dampening=float(settings.get("dampening") or 0.0),
        nesterov=bool(settings.get("nesterov")),
        betas=(float(betas[0]), float(betas[1])),
        eps=float(settings.get("eps") or 0.0),
        decay=float(settings.get("weight_decay") or 0.0),
        coupled=view.notes.optimizer != "AdamW" and not settings.get("decoupled_weight_decay"),
        amsgrad=bool(settings.get("amsgrad")),
    ), rates


def slots_of(view: View, rule: Rule, name: str, when: str, step: int) -> list[Array] | None:
    """Slots of a tensor before or after a step, in PyTorch's layouts; zeros where there were none yet."""
    found = []
    weight = view.tensor(name, f"before/{name}", step)
    if weight is None:
        return None
    for slot in SLOTS[rule.form, rule.name]:
        array = view.tensor(name, f"{when}/{slot}@{name}", step)
        found.append(np.zeros(weight.shape) if array is None else array.astype(np.float64))
    return found


def explain(view: View, names: Sequence[str]) -> tuple[dict[str, Rule], list[str]]:
    """The rule that each tensor follows in all steps, and the tensors that follow none.

    The settings come first; where they do not give the recorded weights, one attribute at a time is exchanged.
    """
    found: dict[str, Rule] = {}
    lost: list[str] = []
    gradients = [applied(view, i) for i in range(len(view.steps))]
    others: list[Rule] = []
    for name in names:
        rule, rates = rule_of(view, name)
        if not rule.known:
            lost.append(name)
            continue
        for candidate in (rule, *(replace(o, decay=rule.decay) for o in others), *_variants(rule)):
            if _follows(view, candidate, name, rates, gradients):
                found[name] = candidate
                if candidate is not rule and candidate not in others:
                    others.append(candidate)
                break
        else:
            lost.append(name)
    return found, lost


def _variants(rule: Rule) -> Iterator[Rule]:
    if rule.form == "keras":  # TensorFlow makes float32 of a constant before it makes float64 of it
        yield replace(rule, momentum=float(np.float32(rule.momentum)))
    yield replace(rule, coupled=not rule.coupled)
    yield replace(rule, nesterov=not rule.nesterov)
    yield replace(rule, decay=0.0)
    if rule.name != "sgd":
        yield replace(rule, form="keras" if rule.form == "torch" else "torch")
        yield from (replace(rule, eps=eps) for eps in (1e-8, 1e-7, 1e-6, 1e-3))


def _follows(view: View, rule: Rule, name: str, rates: list[float], gradients: list[dict[str, Array]]) -> bool:
    """Whether a rule gives the weights after each step, within rounding."""
    some = False
    for i, step in enumerate(view.steps):
        w, after = (view.tensor(name, f"{when}/{name}", i) for when in ("before", "after"))
        before, later = (slots_of(view, rule, name, when, i) for when in ("before", "after"))
        g = gradients[i].get(name)
        if w is None or after is None or before is None or later is None or g is None or math.isnan(rates[i]):
            continue
        replayed, loose = step.notes.gradients == "replay", 0.0
        w, g, after = w.astype(np.float64), g.astype(np.float64), after.astype(np.float64)
        count = step.notes.count if step.notes.count is not None else i
        if replayed:
            g, loose = _from_slots(view, rule, w, g, before, later, rates[i])
        expected, _ = rule.step(w, g, before, rates[i], count)
        allowed = _allowed(view, rule, w, expected - w, rates[i]) + loose * np.abs(g).max(initial=0) * rates[i]
        if (np.abs(after - expected) > allowed + 1e-300).any():
            return False
        some = True
    return some


def _allowed(view: View, rule: Rule, w: Array, moved: Array, rate: float) -> Array:
    """What rounding may do to weights in an update; TensorFlow rounds Keras's constants to float32 in float64 too."""
    constants = max(view.u, 2.0**-24) if rule.form == "keras" else view.u
    moved = np.abs(moved) + rate * rule.decay * np.abs(w)  # the two parts may cancel
    found = (
        8 * view.u * np.abs(w)
        + 64 * view.u * (moved + moved.max(initial=0))
        + constants * rate * rule.decay * np.abs(w)
    )
    if rule.name == "adam":  # of 1 - beta ** t
        found += 2 * constants / (1 - rule.betas[1]) * moved
    return np.asarray(found)


def _from_slots(
    view: View, rule: Rule, w: Array, g: Array, before: list[Array], later: list[Array], rate: float
) -> tuple[Array, float]:
    """The gradient that the run has used, by its slots, and how inexact it is: a replay is rounded otherwise."""
    if rule.name == "adam":
        used = (later[0] - rule.betas[0] * before[0]) / (1 - rule.betas[0])
    elif rule.name == "sgd" and rule.momentum:
        used = (rule.momentum * before[0] - later[0]) / rate
    else:
        return g, 4 * math.sqrt(8 * view.u)
    return used - (rule.decay * w if rule.coupled else 0.0), 64 * view.u / (1 - min(rule.betas[0], 0.99))
