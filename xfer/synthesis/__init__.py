"""Samples made in feature space, for classes that have too few."""

from xfer.synthesis.gan import GanSpec
from xfer.synthesis.resampling import METHODS, resample

__all__ = ["METHODS", "GanSpec", "resample"]
