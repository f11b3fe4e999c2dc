"""pg_ctl for `spokectl exec` as root: PostgreSQL's own refuses root, so it is run as the user who runs the server.

A script of its own: `python pg_ctl.py PROGRAM ARGUMENT…`, in the service's environment.
"""

import os
import pwd
import sys


def main(program: str, arguments: list[str]) -> None:
    """Becomes the server's user, then the program."""
    user = os.environ.get("SPOKE_RUN_AS")
    if user and os.geteuid() == 0:
        found = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(found.pw_gid)
        os.setuid(found.pw_uid)
    os.execv(program, [program, *arguments])  # noqa: S606 - one program instead of another, no shell


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
