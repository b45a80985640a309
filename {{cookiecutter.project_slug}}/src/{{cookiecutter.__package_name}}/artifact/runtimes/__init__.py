"""What runs a loaded artifact, one module per format. From the template; upgraded with it."""
