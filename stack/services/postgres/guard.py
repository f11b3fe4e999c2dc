"""PostgreSQL's guard: `guard.py run [postgres] [-c name=value …]` in the foreground, the other commands beside it.

Only the standard library and PostgreSQL's own programs are used; see docs/postgres-guard.md.
"""

from __future__ import annotations

import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

from pgguard.console import converse
from pgguard.control import Control, ControlError, print_json
from pgguard.guard import Guard
from pgguard.processes import ProgramError, StopRequestedError
from pgguard.record import RecordError, render
from pgguard.settings import Settings, SettingsError, from_environment
from pgguard.status import log

USAGE = """usage: guard.py run [postgres] [ARGUMENT FOR POSTGRES …]
       guard.py status
       guard.py demote [--timeout SECONDS]
       guard.py rejoin [--timeout SECONDS]
       guard.py reinit [--discard] [--timeout SECONDS]
       guard.py adopt [--by WHO] [--reason TEXT]
       guard.py name-primary NODE --expect-epoch N [--by WHO] [--reason TEXT]
       guard.py console
"""


def main(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    try:
        settings = from_environment(os.environ)
        if command == "run":
            return run(settings, rest[1:] if rest[:1] == ["postgres"] else rest)
        return control(settings, command, rest)
    except SettingsError as error:
        log(str(error))
        return 2
    except StopRequestedError:
        return 0
    except (ControlError, RecordError, ProgramError, OSError) as error:
        sys.stderr.write(f"guard: {error}\n")
        return 1


def run(settings: Settings, extra: list[str]) -> int:
    prepare_folders(settings)
    return Guard(settings, os.environ, extra).run()


def control(settings: Settings, command: str, arguments: list[str]) -> int:
    asked = Control(settings)
    try:
        options = parse_options(arguments)
        timeout_s = float(options.get("--timeout", "60"))
        by, reason = options.get("--by", "operator"), options.get("--reason", command)
        if command == "status":
            print_json(asked.status())
        elif command == "console":
            converse(asked, sys.stdin, sys.stdout)
        elif command == "demote":
            print_json(asked.demote(timeout_s))
        elif command == "rejoin":
            print_json(asked.rejoin(timeout_s))
        elif command == "reinit":
            print_json(asked.reinit(timeout_s, discard="--discard" in options))
        elif command == "adopt":
            print_json(render(asked.adopt(by, reason)))
        elif command == "name-primary":
            print_json(render(asked.name_primary(options["NODE"], int(options["--expect-epoch"]), by, reason)))
        else:
            sys.stderr.write(USAGE)
            return 2
    except (KeyError, ValueError):
        sys.stderr.write(USAGE)
        return 2
    return 0


def parse_options(arguments: list[str]) -> dict[str, str]:
    """Reads `--name value` pairs, the flag `--discard` and one free word, the node. argparse would cost the guard memory."""
    options: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument == "--discard":
            options[argument] = ""
        elif argument in ("--timeout", "--by", "--reason", "--expect-epoch"):
            options[argument] = next(rest, "")
        elif argument.startswith("-") or "NODE" in options:
            raise ValueError(argument)
        else:
            options["NODE"] = argument
    return options


def prepare_folders(settings: Settings) -> None:
    """Makes the folders and, as root, gives them to the server's user and becomes that user: PostgreSQL refuses root.

    Every module is imported by now; afterwards the interpreter's own folder may be out of reach (a venv below /root).
    """
    os.umask(0o077)
    parent = settings.data_dir.parent
    parent.mkdir(parents=True, exist_ok=True)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    settings.cluster_dir.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        if settings.run_as is None:
            raise SettingsError("PostgreSQL does not run as root: set SPOKE_RUN_AS to an unprivileged user, such as nobody")
        try:
            user = pwd.getpwnam(settings.run_as)
        except KeyError:
            raise SettingsError(f"SPOKE_RUN_AS names {settings.run_as}, a user that does not exist") from None
        for folder in (parent, settings.run_dir, settings.cluster_dir):
            give_to(folder, user.pw_uid, user.pw_gid)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    try:
        os.chdir(parent)
    except PermissionError:
        who = settings.run_as or "this user"
        raise SettingsError(
            f"{who} cannot enter {parent}, where the data lies: every folder on the way must be open"
        ) from None


def give_to(folder: Path, uid: int, gid: int) -> None:
    """Gives a folder with all in it to a user, unless folder and first level are the user's already."""
    with suppress(FileNotFoundError):
        if all(path.lstat().st_uid == uid for path in (folder, *folder.iterdir())):
            return
    os.chown(folder, uid, gid)
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            # The other node's guard writes and renames files in the shared folder meanwhile.
            with suppress(FileNotFoundError):
                os.chown(Path(where) / name, uid, gid, follow_symlinks=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
