"""The command line of the example service."""

from serving_engine import Service, run_command_line

run_command_line(Service(str(__package__)))
