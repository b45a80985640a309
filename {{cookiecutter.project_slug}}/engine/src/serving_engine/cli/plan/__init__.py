"""The command `plan`: the replicas, workers and memory that a load needs, by measurement."""
