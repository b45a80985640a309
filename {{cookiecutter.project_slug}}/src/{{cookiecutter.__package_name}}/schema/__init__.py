"""Signature to requests, answers and OpenAPI. From the template; upgraded with it."""
