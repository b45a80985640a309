"""The signature of a model, and all that derives from it: requests, predictions, JSON Schema."""
