"""MLflow's scoring protocol, which SageMaker uses as well."""

from .routes import protocol

__all__ = ["protocol"]
