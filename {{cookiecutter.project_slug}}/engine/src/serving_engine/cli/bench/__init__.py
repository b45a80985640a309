"""The command `bench`: the latency and the throughput of a service, measured over HTTP."""
