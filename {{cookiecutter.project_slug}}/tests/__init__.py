"""Tests of this service: yours here, the template's in `engine/`."""
