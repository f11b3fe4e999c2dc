"""The front door: what needs no command line parser is answered before one is imported."""

import gc
import os
import sys

_RARELY = 100_000
"""Containers more than were let go of before cycles are looked for: no short command comes there, a long one does."""

_INTERRUPTED = 130


def main() -> int:
    """Runs the command line in `sys.argv` and gives the exit code.

    A command's imports alone make the collector look at everything again and again, and once more when the process ends:
    a quarter of the processor time of a `status`.
    """
    gc.set_threshold(_RARELY)
    try:
        return _main()
    except KeyboardInterrupt:
        # It came when there was nobody to explain it: during the imports, most of all.
        from contextlib import suppress

        with suppress(OSError):
            os.write(2, b"error: interrupted\n")
        return _INTERRUPTED
    finally:
        gc.freeze()


def _main() -> int:
    _open_closed_streams()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from spokectl import __version__

        try:
            sys.stdout.write(f"spokectl {__version__}\n")
            sys.stdout.flush()
            return 0
        except OSError:
            pass  # it is tried again where errors are explained
    from spokectl.cli.app import run

    return run(sys.argv[1:])


def _open_closed_streams() -> None:
    """What goes to a closed stdout or stderr (`>&-`) is lost, as it should be; no other file gets their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a number, for as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - as above


if __name__ == "__main__":
    sys.exit(main())
