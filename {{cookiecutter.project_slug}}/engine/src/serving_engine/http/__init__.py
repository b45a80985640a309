"""A client's connection: HTTP/1.1 on uvicorn's protocol, its limits, one request and response."""
