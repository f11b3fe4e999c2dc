"""Where the local runtime keeps what it needs while a stack runs."""

import os
import re
import shlex
import shutil
import stat
from pathlib import Path

from spokectl.errors import Failed, Refused
from spokectl.settings import StackState

# sun_path holds 104 bytes on macOS, 108 on Linux; below this folder come a service's name and `.s.PGSQL.PORT.lock`.
_LONGEST_RUN_FOLDER = 55
# Neither supervisord's configuration nor PostgreSQL's list of socket folders can quote everything.
_PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")


class Places:
    """The folders and files of one stack. All lie in its state folder, but sockets where its path is too long or odd."""

    def __init__(self, state: StackState) -> None:
        self._state = state
        own = state.folder / "run"
        if len(os.fsencode(own)) > _LONGEST_RUN_FOLDER or not _PLAIN.fullmatch(str(own)):
            import hashlib

            # /tmp, not $TMPDIR: the next command must find the same folder, whatever its environment.
            key = hashlib.sha256(os.fsencode(state.folder)).hexdigest()[:12]
            own = Path(f"/tmp/spokectl-{os.getuid()}-{key}")  # noqa: S108 - owner and mode are checked in `ensure`
        self.run = own

    @property
    def stack(self) -> str:
        return self._state.name

    @property
    def socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def supervisor_pid(self) -> Path:
        return self._state.folder / "supervisord.pid"

    @property
    def configuration(self) -> Path:
        return self._state.folder / "supervisord.conf"

    @property
    def supervisor_log(self) -> Path:
        return self._state.logs / "supervisord.log"

    @property
    def binaries(self) -> Path:
        return self._state.folder / "bin"

    @property
    def launchers(self) -> Path:
        return self._state.folder / "launchers"

    def launcher(self, service: str) -> Path:
        return self.launchers / service

    @property
    def pid_files(self) -> Path:
        return self._state.folder / "pids"

    def pid_file(self, service: str) -> Path:
        return self.pid_files / service

    def failure_file(self, service: str) -> Path:
        """Holds the exit code of a service that pauses before its next try; only restart: on-failure writes it."""
        return self.pid_files / f"{service}.failed"

    def service_run(self, service: str) -> Path:
        return self.run / service

    def log(self, service: str) -> Path:
        return self._state.logs / f"{service}.log"

    def service_logs(self, service: str) -> Path:
        """For log files that a server insists on writing itself."""
        return self._state.logs / service

    def volume(self, name: str) -> Path:
        return self._state.volumes / name

    def ensure(self) -> None:
        """Creates the folders. Refused (`unsafe_run_dir`) when somebody else's file stands where sockets must go."""
        for folder in (self.launchers, self.pid_files, self.binaries):
            folder.mkdir(mode=0o700, exist_ok=True)
        for folder in (self._state.volumes, self._state.logs, self.run):
            make_passable(folder)
        found = self.run.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise Refused(
                "unsafe_run_dir",
                f"{self.run} belongs to somebody else, and sockets must not go there",
                actions=[f"remove {self.run}, or choose a shorter state folder: export SPOKECTL_STATE_DIR=/path"],
            )

    def remove(self, *, volumes: bool) -> None:
        """Removes what only a running stack needs, with `volumes` its data and logs too. Failed (`cannot_delete`)."""
        try:
            self.remove_doomed_volumes()
            for folder in (self.run, self.launchers, self.pid_files, self.binaries):
                if folder.exists():
                    _delete(folder)
            if volumes and self._state.volumes.exists():
                # At once, or not at all: a database of which half is deleted must never be started.
                self._state.volumes.rename(self._state.doomed_volumes)
                self.remove_doomed_volumes()
            if volumes and self._state.logs.exists():
                _delete(self._state.logs)
            for file in (self.configuration, self.supervisor_pid):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise Failed(
                "cannot_delete",
                f"nothing runs any more, but {error.filename} cannot be deleted: {error.strerror}",
                actions=[f"delete it by hand: rm -r {shlex.quote(str(error.filename))}"],
            ) from error

    def remove_doomed_volumes(self) -> None:
        """Also those of a `down` that was killed half-way."""
        if self._state.doomed_volumes.exists():
            _delete(self._state.doomed_volumes)


def _delete(folder: Path) -> None:
    """OSError names the whole folder: of a file deep in it `rmtree` tells the last part of its path alone."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(folder)) from error


def make_passable(folder: Path) -> None:
    """Creates the folder, private; as root another user may pass through: PostgreSQL and NGINX's workers run as one."""
    if not folder.is_symlink():
        folder.mkdir(exist_ok=True)
        if folder.stat().st_uid == os.getuid():
            folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
