"""Tests of the engine. They bring their own models, settings and application."""
