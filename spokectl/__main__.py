"""The front door: what needs no command line parser is answered before one is imported."""

import sys


def main() -> int:
    """Runs the command line in `sys.argv` and gives the exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from spokectl import __version__

        sys.stdout.write(f"spokectl {__version__}\n")
        return 0
    from spokectl.cli.app import run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
