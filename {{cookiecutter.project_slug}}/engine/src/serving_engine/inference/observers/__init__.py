"""What sees the rows and the outputs of requests off their path: the record and the shadow."""
