"""Whole jobs from one configuration: run, resume, compare, ensembles, soups, pseudo-labels, launchers."""
