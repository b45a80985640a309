"""Processes: start, ports, signals, graceful shutdown, reload, workers, shared memory."""
