"""Turns a fitted estimator into a model directory. From the template; upgraded with it."""
