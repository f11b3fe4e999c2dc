"""The Docker engine: reaching it, with a refusal that says what is missing, and its containers."""

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env, version_lt

from spokectl.errors import Failed, OutcomeUnknown, Refused
from spokectl.wait import Deadline, wait_until

OLDEST_API = "1.41"
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
CONFIG_HASH = "com.docker.compose.config-hash"
CONFIG_FILES = "com.docker.compose.project.config_files"
KIND = "spokectl.kind"
VERSION = "org.opencontainers.image.version"
ONE_OFF = "com.docker.compose.oneoff"
_DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_TIMEOUT_S = 60
_PROXY_ENDS_WITHIN_S = 3.0
_ENDPOINT_GOES_WITHIN_S = 3.0
_USE_LOCAL = "or `up --runtime local`: native processes, without Docker"


@dataclass(frozen=True)
class Container:
    """One container as listed; `state` is the engine's word: running, paused, restarting, exited, created or dead."""

    id: str
    name: str
    state: str
    image_id: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def project(self) -> str:
        return self.labels.get(PROJECT, "")

    @property
    def service(self) -> str:
        return self.labels.get(SERVICE, "")

    @property
    def is_one_off(self) -> bool:
        """Whether `docker compose run` made it: it bears a service's name and is not that service."""
        return self.labels.get(ONE_OFF) == "True"

    @property
    def is_up(self) -> bool:
        """Whether it holds its published ports."""
        return self.state in {"running", "paused", "restarting"}


def connect(environ: Mapping[str, str] = os.environ) -> APIClient:
    """A client of the engine that `docker` itself would use: DOCKER_HOST, else the chosen context, else the usual socket.

    Refused: `no_engine`, `engine_permission` or `engine_too_old`.
    """
    where = endpoint(environ)
    _require_socket(where)
    try:
        tls = kwargs_from_env(dict(environ)).get("tls", False)
        client = APIClient(base_url=where, version="auto", timeout=_TIMEOUT_S, tls=tls)
    except DockerException as error:
        raise _no_engine(where, _innermost(error)) from error
    if version_lt(client.api_version, OLDEST_API):
        raise Refused(
            "engine_too_old",
            f"the Docker engine at {where} speaks API {client.api_version}; Docker 20.10, with {OLDEST_API}, is the oldest",
            actions=["upgrade the engine", _USE_LOCAL],
        )
    return client


def endpoint(environ: Mapping[str, str]) -> str:
    """The engine's address."""
    if environ.get("DOCKER_HOST"):
        return environ["DOCKER_HOST"]
    from docker.context import ContextAPI

    context = ContextAPI.get_current_context()
    return str(context.Host) if context is not None and context.Host else _DEFAULT_SOCKET


def why_not_ready(images: Iterable[str], environ: Mapping[str, str] = os.environ) -> str | None:
    """None when an engine answers and has all the images; else what is missing, in a few words."""
    try:
        client = connect(environ)
    except Refused as error:
        return error.message
    missing = missing_images(client, images)
    return f"the engine has no image {missing[0]}" if missing else None


def brought_up_by_compose(project: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The stack file of a project that plain Compose brought up; None when no container of it is a stack's service."""
    try:
        found = [each for each in containers(connect(environ), project) if KIND in each.labels]
    except Refused:
        return None
    named = [each.labels[CONFIG_FILES].split(",")[0] for each in found if each.labels.get(CONFIG_FILES)]
    return Path(named[0]) if named else None


def missing_images(client: APIClient, images: Iterable[str]) -> list[str]:
    return [image for image in dict.fromkeys(images) if image_id(client, image) is None]


def image_id(client: APIClient, image: str) -> str | None:
    """The id behind the image's name now; None when the engine has none of that name."""
    try:
        return str(client.inspect_image(image)["Id"])  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return None


def containers(client: APIClient, project: str) -> list[Container]:
    """Every container of the Compose project, whatever state it is in.

    As for Compose, one without a digest of its description is none: an image that Compose built has the project's label,
    and so has any container that `docker run` makes of it.
    """
    return [each for each in _listed(client, {"label": f"{PROJECT}={project}"}) if CONFIG_HASH in each.labels]


def all_containers(client: APIClient) -> list[Container]:
    return _listed(client, {})


def publishing(client: APIClient, port: int) -> list[Container]:
    """The containers, of whatever project, whose proxy has the host port now."""
    return [each for each in _listed(client, {"publish": f"{port}/tcp"}) if each.is_up]


def signals_sent(client: APIClient, project: str) -> list[tuple[str, str, datetime]]:
    """Container, signal and time of every signal that the engine remembers: it keeps the last few hundred events."""
    filters = {"label": f"{PROJECT}={project}", "event": "kill"}
    # A fraction of a second: the engine would wait for the end of a whole one.
    found = client.events(since=1, until=time.time(), filters=filters, decode=True)  # type: ignore[call-overload]
    return [
        (event["id"], event["Actor"]["Attributes"].get("signal", ""), datetime.fromtimestamp(event["timeNano"] / 1e9, UTC))
        for event in found
    ]


def bound_ports(client: APIClient, project: str) -> set[int]:
    """The host ports that the project's containers have or, between two starts, will have again."""
    bound: set[int] = set()
    for container in containers(client, project):
        if container.is_up:
            with suppress(NotFound):
                bindings = client.inspect_container(container.id)["HostConfig"]["PortBindings"] or {}
                bound |= {int(each["HostPort"]) for them in bindings.values() for each in them or () if each["HostPort"]}
    return bound


def wait_for_idle_proxies(published: Collection[int], holder_of: Callable[[int], str | None]) -> None:
    """Returns once no proxy of the engine listens on a port that no container publishes any more, or after a while."""
    import psutil

    def blocker() -> str | None:
        left = []
        for connection in psutil.net_connections(kind="tcp"):
            port = connection.laddr.port if connection.laddr else 0
            if port in published and connection.status == psutil.CONN_LISTEN and connection.pid:
                with suppress(psutil.Error):
                    is_proxy = psutil.Process(connection.pid).name() == "docker-proxy"
                    left += [port] if is_proxy and holder_of(port) is None else []
        return f"{left}" if left else None

    with suppress(OutcomeUnknown, psutil.AccessDenied):
        wait_until(blocker, Deadline(_PROXY_ENDS_WITHIN_S), what="the end of the engine's proxies")


def said(error: APIError) -> str:
    """The engine's own explanation, in one line."""
    return " ".join(str(error.explanation or error).split())


def remove_network(client: APIClient, network: str, deadline: Deadline, notice: Callable[[str], None]) -> None:
    """Removes the network, or leaves it with a notice where nothing is in it. APIError where something is.

    When containers start beside each other, engines before 28.1 can count one endpoint of their network too many for
    good, and then keep the empty network until they are restarted (Moby's issue 42119). The next `up` uses it.
    """

    def kept() -> str | None:
        try:
            client.remove_network(network)
        except NotFound:
            return None
        except APIError as error:
            with suppress(NotFound):  # it has gone meanwhile
                if client.inspect_network(network)["Containers"]:
                    raise
            return said(error)
        return None

    try:
        # What was removed just now may still be on its way out.
        wait_until(kept, deadline.capped(_ENDPOINT_GOES_WITHIN_S), what="the engine")
    except OutcomeUnknown as late:
        notice(f"the engine keeps an empty network until it is restarted, and the next up uses it: {late.details['reason']}")


def failed(error: APIError, doing: str) -> Failed:
    return Failed("engine_failed", f"the Docker engine could not {doing}: {said(error)}")


def _listed(client: APIClient, filters: Mapping[str, str]) -> list[Container]:
    return [_container(raw) for raw in client.containers(all=True, filters=dict(filters))]


def _container(raw: Mapping[str, Any]) -> Container:
    name = str((raw.get("Names") or ["?"])[0]).removeprefix("/")
    return Container(raw["Id"], name, raw["State"], raw["ImageID"], raw.get("Labels") or {})


def _require_socket(where: str) -> None:
    """Says plainly what the SDK would wrap in layers: a socket that is not there, or that this user may not open."""
    if not where.startswith("unix://"):
        return
    path = Path(where.removeprefix("unix://"))
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise _no_engine(where, "it is not a socket")
    except PermissionError:
        raise _no_permission(path) from None
    except OSError as error:
        raise _no_engine(where, error.strerror or str(error)) from None
    if not os.access(path, os.R_OK | os.W_OK):
        raise _no_permission(path)


def _innermost(error: BaseException) -> str:
    """The system's word at the bottom of what the SDK and its HTTP client have wrapped around it; else their own."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return str(error)


def _no_engine(where: str, why: str) -> Refused:
    return Refused(
        "no_engine",
        f"no Docker engine answers at {where}: {why}",
        actions=["start it: sudo systemctl start docker", "install one on Debian: sudo make engine", _USE_LOCAL],
    )


def _no_permission(path: Path) -> Refused:
    return Refused(
        "engine_permission",
        f"this user may not use the Docker engine at {path}",
        actions=["sudo usermod -aG docker $USER  # and log in again", _USE_LOCAL],
    )
