"""Classes that tests put here may be part of a packaged model."""
