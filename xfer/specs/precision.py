"""Precisions of the forward and backward pass."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "fp64", "bf16"]
