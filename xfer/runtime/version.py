"""The version of xfer."""

__version__ = "0.2.0.dev0"
