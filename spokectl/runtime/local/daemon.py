"""The program that supervises a stack's processes: supervisord, a third lighter in memory, and with logs of its own kind.

It runs as a file (`python -P daemon.py -n -c …`): nothing of spokectl is imported by it, and its neighbour supervisor.py
is not taken for the library.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path


def leave_openssl_out() -> None:
    """Makes two imports fail that supervisord does without: what they load is 7 MB of its 24.

    It speaks over a Unix socket only, and hashes nothing but passwords, which it has none of. Some distributions build
    Python without hashes of its own: there OpenSSL's stay.
    """
    sys.modules["ssl"] = None  # type: ignore[assignment]  # the documented way to make an import fail
    if find_spec("_sha1") and find_spec("_md5"):
        sys.modules["_hashlib"] = None  # type: ignore[assignment]


def rotate(path: Path, max_bytes: int, keep: int) -> None:
    """Moves what is in the file to `.1` when it is too long, `.1` to `.2` and so on up to `.keep`, and empties it.

    The file itself stays, because servers write to it, each line at its end.
    """
    try:
        if path.stat().st_size <= max_bytes:
            return
        for number in range(keep - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        copy = path.with_name(f"{path.name}.copy")
        shutil.copyfile(path, copy)
        os.truncate(path, 0)
        copy.replace(path.with_name(f"{path.name}.1"))
    except OSError as error:
        # A full disk: the next turn tries again.
        print(f"{path} was not rotated: {error}", file=sys.stderr, flush=True)  # noqa: T201 - the supervisor's own log


def keep_logs(_supervisord: object, folder: str, own: str, max_bytes: str, keep: str) -> object:
    """Rotates the servers' logs every few seconds. supervisord calls this for the section `rpcinterface:logs`."""
    from supervisor import events

    def rotate_all(_event: object) -> None:
        for path in Path(folder).glob("*.log"):
            if path.name != own:
                rotate(path, int(max_bytes), int(keep))

    events.subscribe(events.Tick5Event, rotate_all)
    return object()


if __name__ == "__main__":
    leave_openssl_out()
    from supervisor.supervisord import main

    main()
