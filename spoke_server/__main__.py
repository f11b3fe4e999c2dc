"""`python -m spoke_server`: reads the environment and serves."""

from __future__ import annotations

import gc

# Imports let go of next to nothing, and the collector would look at all of it again and again.
gc.disable()

import asyncio  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

import uvloop  # noqa: E402

from spoke_server import logs  # noqa: E402
from spoke_server.server import Server  # noqa: E402
from spoke_server.settings import Settings, SettingsError  # noqa: E402


def main(arguments: list[str]) -> int:
    """Serves until told to stop; 2 when a setting cannot be used, 1 when a port cannot be had."""
    # The stack file's command may carry the server's name in front.
    if arguments[:1] == ["spoke-server"]:
        arguments = arguments[1:]
    if arguments:
        return _fail(2, f"takes no arguments, got {' '.join(arguments)!r}; it is configured by SPOKE_* variables")
    try:
        settings = Settings.from_environment(os.environ)
        logs.configure(settings.log_level)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings))
    except (SettingsError, ValueError) as error:
        return _fail(2, str(error))
    except OSError as error:
        return _fail(1, error.strerror or str(error))


def _fail(code: int, message: str) -> int:
    sys.stderr.write(f"spoke_server: {message}\n")
    return code


async def _serve(settings: Settings) -> int:
    server = Server(settings)
    # What is there now stays: later collections need not look at it.
    gc.freeze()
    gc.enable()
    return await server.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
