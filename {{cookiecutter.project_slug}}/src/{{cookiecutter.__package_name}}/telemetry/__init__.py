"""Logs and metrics. From the template; upgraded with it."""
