"""The engine: batching, admission, threads, the server. From the template; upgraded with it."""
