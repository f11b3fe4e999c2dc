"""Looks at the machine: engine, programs, ports, disk, memory, limits, clock. It changes nothing."""

import os
import resource
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spokectl.errors import Refused, SpokectlError
from spokectl.journal import read_lines
from spokectl.model import Kind
from spokectl.operations.doctor.findings import NotChecked
from spokectl.operations.doctor.machine import (
    ClockFacts,
    DiskFacts,
    EngineFacts,
    FileLimitFacts,
    HeldPort,
    MemoryFacts,
    PortFacts,
    ProgramFacts,
)
from spokectl.operations.doctor.scene import Scene
from spokectl.operations.health import operator_credentials
from spokectl.runtime.base import served_ports
from spokectl.runtime.select import DOCKER

_PROGRAM_TIMEOUT_S = 10.0
_DATABASE_TIMEOUT_S = 3.0
_CGROUPS = Path("/sys/fs/cgroup")


def engine(scene: Scene) -> EngineFacts:
    from spokectl.runtime.docker import engine as docker

    try:
        client = docker.connect()
    except Refused as error:
        return EngineFacts(scene.runtime_name, refused=error.message, actions=error.actions)
    missing: list[str] = []
    if scene.runtime_name == DOCKER:
        missing = docker.missing_images(client, [each.image for each in scene.stack.services.values()])
    return EngineFacts(scene.runtime_name, str(client.version()["Version"]), missing_images=tuple(missing))


def compose(scene: Scene) -> ProgramFacts:
    from spokectl.runtime.docker.compose import compose_version

    try:
        return ProgramFacts(scene.runtime_name, (f"Compose {compose_version()}",))
    except Refused as error:
        return ProgramFacts(scene.runtime_name, missing=error.message, actions=error.actions)


def binaries(scene: Scene) -> ProgramFacts:
    """The servers' programs of the local runtime, and the versions that they tell."""
    from spokectl.runtime.local.binaries import find_binaries

    try:
        # Without a cache: nothing is copied by a look.
        found = find_binaries({service.kind for service in scene.stack.services.values()}, os.environ, cache=None)
    except Refused as error:
        return ProgramFacts(scene.runtime_name, missing=error.message, actions=error.actions)
    programs = dict(found.links)
    for folder in found.folders:  # PostgreSQL comes as a whole folder of programs
        programs["postgres"] = folder / "postgres"
    # A Sentinel is a Redis under another name.
    said = [_said(name, path) for name, path in programs.items() if name != "redis-sentinel"]
    wheels = [f"{name} {installed(name) or '(no version)'}" for name in found.shims if name == "nanio"]
    return ProgramFacts(scene.runtime_name, (*sorted(said), *wheels))


def _said(name: str, program: Path) -> str:
    words = [str(program), "-v" if name == "nginx" else "--version"]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROGRAM_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(
            "cannot_run", f"{program} cannot be run: {error}", actions=["pip install --force-reinstall 'spokectl[local]'"]
        ) from error
    return version_in(name, done.stdout + done.stderr)


def version_in(name: str, said: str) -> str:
    """The program's name and the first word that is a version in what it said of itself. Pure."""
    import re

    found = re.search(r"\d+\.\d+[\w.]*", said)
    return f"{name} {found[0]}" if found else f"{name} (no version)"


def installed(distribution: str) -> str | None:
    """Its version; None where there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def ports(scene: Scene) -> PortFacts:
    context = scene.context_for_up
    left_out = context.runtime.left_out()
    names = [name for name in context.stack.services if name not in left_out]
    count = sum(len(served_ports(context.stack.services[name], left_out)) for name in names)
    try:
        context.runtime.require_free_ports(names)
    except Refused as error:
        if error.code not in {"port_taken", "port_forbidden", "bad_bind_address"}:
            raise
        if error.code != "port_taken":
            return PortFacts(count, refused=error.message, actions=error.actions)
        rows = error.details["ports"]
        held = [HeldPort(each["port"], each["service"], each["holder"]) for each in rows]  # type: ignore[attr-defined]
        return PortFacts(count, tuple(held), actions=error.actions)
    return PortFacts(count)


def disks(scene: Scene) -> list[DiskFacts]:
    folders = [_nearest(scene.state.folder)]
    if scene.runtime_name == DOCKER:
        from spokectl.runtime.docker import engine as docker

        said = str(docker.connect().info()["DockerRootDir"])
        folders += engines_folder(docker.endpoint(os.environ), Path(said))
    # One file system is said once.
    found = {folder.stat().st_dev: folder for folder in folders}
    return [_disk(folder) for folder in found.values()]


def engines_folder(endpoint: str, folder: Path) -> list[Path]:
    """The engine's data, or nothing: what an engine elsewhere, or in a virtual machine, names is no path of this machine."""
    return [folder] if endpoint.startswith("unix://") and folder.is_dir() else []


def _nearest(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _disk(folder: Path) -> DiskFacts:
    found = os.statvfs(folder)
    unit = found.f_frsize
    # Some file systems have no inodes to count.
    inodes = found.f_favail if found.f_files else None
    return DiskFacts(str(folder), found.f_bavail * unit, found.f_blocks * unit, inodes, bool(found.f_flag & os.ST_RDONLY))


def memory(scene: Scene) -> MemoryFacts:
    import psutil

    whole = psutil.virtual_memory()
    within = memory_of_group(_CGROUPS)
    if within is None or within[1] > whole.total:
        return MemoryFacts(whole.available, whole.total, scene.runs)
    available, limit = within
    return MemoryFacts(min(whole.available, available), limit, scene.runs)


def memory_of_group(folder: Path) -> tuple[int, int] | None:
    """What a control group's processes may still take, and its limit, in bytes; None where it has none.

    Source of the rule: what kubelet and `docker stats` take for used; the kernel gives inactive pages of files back first.
    """
    try:
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        kinds = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(kinds.get("inactive_file", 0))), limit
    except (OSError, ValueError):
        return None


def file_limits(_: Scene) -> FileLimitFacts:
    soft, hard = (None if each == resource.RLIM_INFINITY else each for each in resource.getrlimit(resource.RLIMIT_NOFILE))
    return FileLimitFacts(soft, hard)


def clock(scene: Scene) -> ClockFacts:
    known = [(_modified(Path(__file__)), "spokectl's own installation")]
    try:
        last = [str(each.get("time", "")) for each in read_lines(scene.state.events_file)[-1:]]
        known += [(datetime.fromisoformat(each), "the last event of the stack") for each in last]
    except (OSError, ValueError, NotChecked):
        pass  # the other checks say so
    newest, what = max(known)
    return ClockFacts(datetime.now(UTC), newest, what)


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def clock_differences(scene: Scene) -> list[tuple[str, float]]:
    return list(_differences(scene))


def _differences(scene: Scene) -> Iterable[tuple[str, float]]:
    from spokectl.clients.postgres import PostgresUnavailable, server_time_s

    for service in scene.running(Kind.POSTGRES):
        began = time.time()
        try:
            theirs = server_time_s(
                *service.address(service.health.port), operator_credentials(service), timeout_s=_DATABASE_TIMEOUT_S
            )
        except (PostgresUnavailable, SpokectlError):
            continue
        # Asked between two moments of ours: within them there is no difference.
        ended = time.time()
        yield service.name, min(0.0, theirs - began) + max(0.0, theirs - ended)
