"""JSON as the standard has it: no duplicate keys, no NaN, no infinity."""

from __future__ import annotations

import json
import math
from typing import Any


def parse(content: bytes | bytearray) -> Any:
    """JSON as the standard has it, with nothing said twice.

    Raises:
        ValueError: no UTF-8 or no JSON; a key that is there twice, a number that is not finite, or lists in lists in
            lists.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it says a key twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"it holds {constant}, which is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text[:20]}, which is no number")
    return number
