"""An HTTP service around one machine-learning model."""
