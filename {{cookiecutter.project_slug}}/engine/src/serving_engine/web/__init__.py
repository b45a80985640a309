"""The FastAPI side: dependencies, the fast route, errors, OpenAPI, API keys, health."""
