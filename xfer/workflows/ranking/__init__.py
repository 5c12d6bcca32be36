"""Ranking pretrained networks for a data set without training them."""
