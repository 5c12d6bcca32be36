"""Fitting a model: trainer, loop, callbacks, history, progress."""
