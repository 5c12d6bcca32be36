"""Predictions on labelled data and metrics of them."""
