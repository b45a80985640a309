"""The runtimes that run models: one folder or module each, behind the interface in base.py."""
