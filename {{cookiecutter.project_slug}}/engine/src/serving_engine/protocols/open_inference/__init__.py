"""Open Inference Protocol V2 over REST, for clients of Triton and KServe."""

from .routes import protocol

__all__ = ["protocol"]
