"""What a stack needs on disk before its services can start: launchers, folders, programs. Made from the stack alone."""

import os
import shutil
import stat
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from spokectl.errors import Refused
from spokectl.model import TAKEN_OVER_BY_RELOAD, Kind, Service, Stack
from spokectl.runtime.local import launcher, supervisor
from spokectl.runtime.local.binaries import Binaries
from spokectl.runtime.local.places import Places, make_passable
from spokectl.runtime.local.translate import Translator, runs_unprivileged
from spokectl.stackfile import default_stack_file

UNPRIVILEGED_USER = "nobody"
# Two fresh data directories, their WAL, and room to notice that the disk fills.
MIN_FREE_BYTES = 256 << 20


class Preparation:
    """Knows for every service what its launcher must say."""

    def __init__(self, stack: Stack, places: Places, binaries: Binaries, left_out: Collection[str]) -> None:
        self._stack = stack
        self._places = places
        self.binaries = binaries
        self._translator = Translator(stack, places.volume, left_out)

    def script(self, service: Service) -> launcher.Script:
        launch = launcher.Launch(
            service=service.name,
            entry=entry_script(self._stack, service.kind),
            words=self._translator.command(service),
            environment=self.environment(service),
            log_file=self._places.log(service.name),
            pid_file=self._places.pid_file(service.name),
            failure_file=self._places.failure_file(service.name),
            restart=service.restart,
            supervision=supervisor.configuration([service], self._places),
            # A service that is added must not restart all others; what they use of it is in variables of their own.
            unimportant={"SPOKE_ADDRESSES", *TAKEN_OVER_BY_RELOAD.get(service.kind, ())},
            # PostgreSQL's guard looks after its own server, and more gently.
            sweeps=service.kind is not Kind.POSTGRES,
        )
        return launcher.render(launch)

    def environment(self, service: Service) -> dict[str, str]:
        return native_environment(service, self._translator, self._places, self.binaries.path(self._places.binaries))

    def write(self, services: Iterable[Service]) -> None:
        """Writes launchers and makes the folders that they name."""
        for service in services:
            passable = runs_unprivileged(service)
            for mount in service.mounts:
                if mount.named:
                    _make_folder(self._places.volume(mount.source), passable=passable)
            _make_folder(self._places.service_run(service.name), passable=passable)
            _make_folder(self._places.service_logs(service.name), passable=passable)
            write_program(self._places.launcher(service.name), self.script(service).text)

    def write_configuration(self, services: Iterable[Service]) -> None:
        write_program(self._places.configuration, supervisor.configuration(services, self._places))

    @staticmethod
    def require_space(folder: Path) -> None:
        """Refused (`disk_full`) when the servers would run out of space at once."""
        free = shutil.disk_usage(folder).free
        if free < MIN_FREE_BYTES:
            raise Refused(
                "disk_full",
                f"{folder} has {free >> 20} MiB left; the servers need {MIN_FREE_BYTES >> 20} MiB to start with",
                actions=["free some space, or choose another folder: export SPOKECTL_STATE_DIR=/path/to/a/folder"],
                details={"folder": str(folder), "free_bytes": free, "needed_bytes": MIN_FREE_BYTES},
            )

    @staticmethod
    def require_passage(folder: Path, services: Iterable[Service]) -> None:
        """Refused (`state_dir_closed`) when servers that give up root's rights could not get to their data in `folder`."""
        if os.geteuid() != 0 or not any(runs_unprivileged(service) for service in services):
            return
        closed = [each for each in folder.absolute().parents if not each.stat().st_mode & stat.S_IXOTH]
        if closed:
            raise Refused(
                "state_dir_closed",
                f"as root PostgreSQL and NGINX run as {UNPRIVILEGED_USER}, who cannot pass through {closed[-1]} to {folder}",
                actions=["choose another folder: export SPOKECTL_STATE_DIR=/path/to/a/folder", f"chmod o+x {closed[-1]}"],
            )


def native_environment(service: Service, translator: Translator, places: Places, path: str) -> dict[str, str]:
    """All that the service's entry script may rely on, beside what every process inherits."""
    native = {
        "PATH": path,
        "SPOKE_PYTHON": sys.executable,
        "SPOKE_RUN_DIR": str(places.service_run(service.name)),
        "SPOKE_LOG_DIR": str(places.service_logs(service.name)),
    }
    if os.geteuid() == 0:
        native["SPOKE_RUN_AS"] = UNPRIVILEGED_USER
    return translator.environment(service) | native


def entry_script(stack: Stack, kind: Kind) -> Path:
    """The entry script beside the stack file, else the one that ships with spokectl. Refused (`no_entry_script`) if none."""
    for folder in (stack.folder.absolute(), default_stack_file().parent.absolute()):
        script = folder / "services" / kind / "run"
        if script.is_file():
            return script
    raise Refused(
        "no_entry_script",
        f"there is no entry script services/{kind}/run beside {stack.files[0]}",
        actions=["put the stack file beside a services folder, as in the project's stack/"],
    )


def write_program(path: Path, text: str) -> None:
    """Replaces the file whole, only if it differs. Not synchronised: after a crash of the machine it is written anew."""
    try:
        if path.read_text() == text:
            return
    except FileNotFoundError:
        pass
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def _make_folder(folder: Path, *, passable: bool) -> None:
    if passable:
        make_passable(folder)
    else:
        folder.mkdir(mode=0o700, exist_ok=True)
