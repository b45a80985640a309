"""Builds a model directory from a fitted estimator: the command `model package`."""
