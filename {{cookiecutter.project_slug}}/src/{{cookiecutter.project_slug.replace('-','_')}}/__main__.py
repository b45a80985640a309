"""The command line: `python -m` with the package's name, or the command of the project."""

from serving_engine import Service, run_command_line


def main() -> None:
    """Run a command, such as `serve`; `--help` lists them."""
    run_command_line(Service(str(__package__)))


if __name__ == "__main__":
    main()
