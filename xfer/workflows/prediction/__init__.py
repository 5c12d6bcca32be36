"""Predictions for many images, written into a table that an interrupted process continues."""
