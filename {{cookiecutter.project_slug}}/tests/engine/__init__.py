"""Tests of what comes from the template: upgraded with it."""
