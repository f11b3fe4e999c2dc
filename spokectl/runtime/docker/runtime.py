"""The Docker runtime: the stack file's containers, made by Compose, and looked after through the engine's own API."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from docker import APIClient
from docker.errors import APIError
from docker.errors import NotFound as GoneError

from spokectl.errors import Failed, Incomplete, OutcomeUnknown, Refused
from spokectl.model import TAKEN_OVER_BY_RELOAD, Inspection, LogLine, Service, Stack
from spokectl.runtime import ports
from spokectl.runtime.answers import not_running
from spokectl.runtime.base import NO_PROGRAM, Capabilities, Invocation, Notice, clients_environment, unsaid
from spokectl.runtime.docker import engine, logs
from spokectl.runtime.docker.compose import ELSEWHERE, Compose, compose_environment
from spokectl.runtime.docker.engine import CONFIG_HASH, KIND, PROJECT, VERSION, Container
from spokectl.runtime.docker.fleet import Fleet
from spokectl.runtime.docker.inspection import judge
from spokectl.settings import StackState, command_line
from spokectl.wait import Deadline, wait_until

_ENGINE_ENDS_WITHIN_S = 10.0
# What a shell would run by itself, such as `cd`, is no program.
_FIND_PROGRAM = f"""
found=$(command -v -- "$1")
case $found in */*) [ -f "$found" ] && [ -x "$found" ] || exit {NO_PROGRAM} ;; *) exit {NO_PROGRAM} ;; esac
"""


class DockerRuntime:
    """Implements `spokectl.runtime.base.Runtime`."""

    name = "docker"
    capabilities = Capabilities(cut_network=True, limit_memory=True, build_images=True, keeps_logs=False)

    def __init__(self, stack: Stack, state: StackState, environ: Mapping[str, str] = os.environ) -> None:
        self._stack = stack
        self._state = state
        self._environ = compose_environment(environ)
        self._compose = Compose(stack, state, self._environ)
        self._ours = {"label": f"{PROJECT}={stack.name}"}

    @cached_property
    def _client(self) -> APIClient:
        return engine.connect(self._environ)

    @cached_property
    def _fleet(self) -> Fleet:
        return Fleet(self._stack, self._client, lambda: engine.connect(self._environ))

    def left_out(self) -> dict[str, str]:
        return {}

    def without_effect(self) -> list[str]:
        return []  # Compose reads the same file, and refuses what it does not know

    def has_data(self) -> bool:
        return bool(self._volumes())

    def build(self, services: Sequence[str], deadline: Deadline, progress: Notice) -> None:
        self._compose.require()
        images = {self._stack.services[name].image for name in services}
        # Any service with the same image may be the one that says how it is built; Compose passes over those that do not.
        self._compose.build(
            [name for name, each in self._stack.services.items() if each.image in images], deadline, progress
        )

    def unbuilt(self, services: Sequence[str]) -> list[str]:
        absent = engine.missing_images(self._client, [self._stack.services[name].image for name in services])
        return [name for name in services if self._stack.services[name].image in absent]

    def bring_up(self, services: Sequence[str], deadline: Deadline, notice: Notice) -> None:
        self._state.ensure()
        present = self._fleet.containers()
        self._compose.require()
        self._require_no_strangers(present)
        changed = self.changed(services, deadline)
        to_make = [name for name in services if name in changed or name not in present or not present[name].is_up]
        self.require_free_ports(to_make)

        stopping = self._fleet.being_stopped({name: present[name] for name in services if name in present})
        if stopping:
            notice(f"still being stopped, so they are waited for: {', '.join(stopping)}")
            self._fleet.wait_until_down(stopping, stopping, deadline)
        for name in changed:
            notice(f"{name}: made anew, because its description has changed")
        self._remove_unknown(present, deadline, notice)
        self._thaw(services, present, notice)
        self._fleet.each("connect", [present[name] for name in services if name in present], self._connect)
        # Compose would make a load balancer anew that a reload will do for, and without names it would start everything.
        outdated = self._not_up_to_date(services, changed)
        if not outdated:
            return
        networks, volumes = self._networks(), self._volumes()
        try:
            self._compose.create_and_start(outdated, deadline)
        except (Refused, Failed):
            self._remove_made(present, networks, volumes)
            raise

    def changed(self, services: Sequence[str], deadline: Deadline) -> list[str]:
        up = {name: each for name, each in self._fleet.containers().items() if name in services and each.is_up}
        if not up:
            return []
        other = self._described_otherwise(up, deadline)
        return [name for name, each in up.items() if name in other or each.image_id != self._image_id(name)]

    def tear_down(self, deadline: Deadline, *, volumes: bool, notice: Notice) -> list[str]:
        everyone = engine.containers(self._client, self._stack.name)
        foreign = [container.name for container in everyone if KIND not in container.labels]
        if foreign:
            notice(f"left alone, because spokectl's stack file did not make them: {', '.join(foreign)}")
        own = {name: container for name, container in self._fleet.containers().items() if KIND in container.labels}
        # Besides the services: one-off containers, and more of one service than spokectl makes.
        own |= {each.name: each for each in everyone if KIND in each.labels and each not in own.values()}
        ran = [name for name, container in own.items() if container.is_up]
        self._fleet.stop(own, deadline)
        self._fleet.remove(own.values(), volumes=volumes)
        try:
            # Data first: a network that stays behind is nothing to the next `up`, data would be.
            for volume in self._volumes() if volumes else ():
                self._client.remove_volume(volume)
            for network in self._networks():
                engine.remove_network(self._client, network, deadline, notice)
        except APIError as error:
            raise Incomplete(
                "cannot_delete",
                f"nothing of the stack runs any more, but something is left: {engine.said(error)}",
                actions=[command_line(self._stack.name, "down" + (" --volumes" if volumes else ""))],
            ) from error
        return ran

    def remove_images(self) -> list[str]:
        images = dict.fromkeys(service.image for service in self._stack.services.values())
        removed, kept = [], []
        for image in images:
            try:
                self._client.remove_image(image)
                removed.append(image)
            except GoneError:
                continue
            except APIError as error:
                kept.append(f"{image}: {engine.said(error)}")
        if kept:
            raise Incomplete(
                "image_in_use",
                f"images that are in use stay: {'; '.join(kept)}",
                details={"removed": removed, "kept": kept},
                actions=["see by which containers: docker ps --all", command_line(self._stack.name, "down --images")],
            )
        return removed

    def start(self, services: Sequence[str], deadline: Deadline) -> None:  # noqa: ARG002 - nothing has to stop first
        present = self._fleet.containers()
        missing = [name for name in services if name not in present]
        if missing or not present:
            raise not_running(self._stack.name, missing if present else ())
        self.require_free_ports(name for name in services if not present[name].is_up)
        self._thaw(services, present, unsaid)
        self._fleet.each("start", [present[name] for name in services if not present[name].is_up], self._client.start)

    def stop(self, services: Sequence[str], deadline: Deadline) -> None:
        present = self._fleet.containers()
        self._fleet.stop({name: present[name] for name in services if name in present}, deadline)

    def kill(self, services: Sequence[str], deadline: Deadline) -> None:
        present = self._fleet.containers()
        chosen = [present[name] for name in services if name in present and present[name].is_up]
        self._fleet.each("kill", chosen, self._client.kill)
        self._fleet.wait_until_down({each.service: each for each in chosen}, present, deadline)

    def pause(self, services: Sequence[str]) -> None:
        self._fleet.each("pause", self._running(services, but="paused"), self._client.pause)

    def unpause(self, services: Sequence[str]) -> None:
        self._fleet.each(
            "unpause", [each for each in self._running(services) if each.state == "paused"], self._client.unpause
        )

    def remove(self, services: Sequence[str]) -> None:
        present = self._fleet.containers()
        self._fleet.remove(present[name] for name in services if name in present)

    def cut_network(self, services: Sequence[str]) -> None:
        self._fleet.each("cut off", self._running(services), self._disconnect)

    def restore_network(self, services: Sequence[str]) -> None:
        present = self._fleet.containers()
        self._fleet.each("connect", [present[name] for name in services if name in present], self._connect)

    def inspect(self) -> dict[str, Inspection]:
        present = self._fleet.containers()

        def look(service: Service) -> Inspection:
            container = present.get(service.name)
            if container is None:
                return judge(service, None)
            try:
                seen = judge(service, self._client.inspect_container(container.id)["State"])
            except GoneError:
                return judge(service, None)
            return replace(seen, version=container.labels.get(VERSION, ""))

        return {service.name: look(service) for service in self._stack.services.values()}

    def invocation(self, service: str, argv: Sequence[str], *, terminal: bool = False) -> Invocation:
        (container,) = self._running([service])
        options = ["--interactive", "--tty"] if terminal else ["--interactive"]
        described = self._stack.services[service]
        for variable in TAKEN_OVER_BY_RELOAD.get(described.kind, ()):
            options += ["--env", f"{variable}={described.environment.get(variable, '')}"]
        # Named only, so that no argument holds a secret: docker takes the values from its own environment.
        clients = {
            name: value for name, value in clients_environment(described).items() if name not in described.environment
        }
        options += [word for variable in clients for word in ("--env", variable)]
        return Invocation(
            ("docker", "exec", *options, container.id, *argv),
            {**self._environ, **clients},
            program_check=("docker", "exec", container.id, "sh", "-c", _FIND_PROGRAM, "sh", argv[0]),
        )

    def logs(self, services: Iterable[str], *, since: datetime | None, tail: int | None, follow: bool) -> Iterator[LogLine]:
        wanted = list(services)

        def find() -> dict[str, str]:
            present = self._fleet.containers()
            return {name: present[name].id for name in wanted if name in present}

        if not follow:
            return logs.read(self._client, find(), since=since, tail=tail)
        return logs.follow(lambda: engine.connect(self._environ), wanted, find, since=since, tail=tail)

    def _described_otherwise(self, up: Mapping[str, Container], deadline: Deadline) -> set[str]:
        """The services whose containers were made from another description, but for what a reload takes over."""
        hashes = self._compose.hashes(deadline)
        other = {name for name, each in up.items() if each.labels.get(CONFIG_HASH) != hashes.get(name)}
        as_made = {name: kept for name in other if (kept := self._reloadable_variables(name, up[name]))}
        if as_made:
            hashes = self._compose.hashes(deadline, as_made)
            other -= {name for name in as_made if up[name].labels.get(CONFIG_HASH) == hashes.get(name)}
        return other

    def _reloadable_variables(self, name: str, container: Container) -> dict[str, str]:
        """Those variables that a reload takes over, as the container was made with them."""
        wanted = TAKEN_OVER_BY_RELOAD.get(self._stack.services[name].kind, frozenset())
        if not wanted:
            return {}
        words = self._client.inspect_container(container.id)["Config"]["Env"]
        made = dict(word.split("=", 1) for word in words)
        return {variable: made[variable] for variable in wanted if variable in made}

    def _not_up_to_date(self, services: Sequence[str], changed: Sequence[str]) -> list[str]:
        present = self._fleet.containers()
        reloadable = {name for name in services if self._stack.services[name].kind in TAKEN_OVER_BY_RELOAD}
        return [name for name in services if name not in reloadable or name in changed or not _is_up(present.get(name))]

    def _image_id(self, name: str) -> str | None:
        return engine.image_id(self._client, self._stack.services[name].image)

    def _running(self, services: Sequence[str], but: str = "") -> list[Container]:
        """The containers of services that all have to run. NotFound (`not_running`) names those that do not."""
        present = self._fleet.containers()
        missing = [name for name in services if name not in present or present[name].state not in {"running", "paused"}]
        if missing:
            raise not_running(self._stack.name, missing if present else ())
        return [present[name] for name in services if present[name].state != but]

    def _require_no_strangers(self, present: Mapping[str, Container]) -> None:
        """Refused (`foreign_container`): a container that another project, or nobody's, made bears a name of this stack."""
        names = {service.container_name for service in self._stack.services.values()}
        foreign = [
            each for each in engine.all_containers(self._client) if each.name in names and each.project != self._stack.name
        ]
        foreign += [each for each in present.values() if KIND not in each.labels]
        if foreign:
            whose = "; ".join(f"{each.name} ({each.project or 'no Compose project'})" for each in foreign)
            raise Refused(
                "foreign_container",
                f"containers that are not this stack's bear its names: {whose}",
                actions=[
                    f"remove them, if you do not need them: docker rm --force {' '.join(each.name for each in foreign)}",
                    ELSEWHERE,
                ],
                details={"containers": [each.name for each in foreign]},
            )

    def require_free_ports(self, services: Iterable[str]) -> None:
        own = engine.bound_ports(self._client, self._stack.name)
        listed = [ports.Wanted(name, port) for name in services for port in self._stack.services[name].ports]
        wanted = [each for each in listed if each.port.published not in own]
        if wanted:
            # The proxy of a container that has just ended may still be ending itself.
            engine.wait_for_idle_proxies([each.port.published for each in wanted], self._holder_of)
            ports.require_free(wanted, tuple, stack=self._stack, described=self._holder_of)

    def _holder_of(self, published: int) -> str | None:
        """The container that publishes the port: the process at it is only the engine's proxy."""
        for each in engine.publishing(self._client, published):
            return f"the container {each.name}" + (f" of the stack {each.project}" if each.project else "")
        return None

    def _remove_unknown(self, present: Mapping[str, Container], deadline: Deadline, notice: Notice) -> None:
        """Ends services that the stack file no longer has."""
        gone = {name: container for name, container in present.items() if name not in self._stack.services}
        if gone:
            notice(f"removed, because they are no longer part of the stack: {', '.join(gone)}")
            self._fleet.stop(gone, deadline)
            self._fleet.remove(gone.values())

    def _thaw(self, services: Sequence[str], present: Mapping[str, Container], notice: Notice) -> None:
        paused = [name for name in services if name in present and present[name].state == "paused"]
        if paused:
            notice(f"paused until now: {', '.join(paused)}")
            self._fleet.each("unpause", [present[name] for name in paused], self._client.unpause)

    def _remove_made(self, present: Mapping[str, Container], networks: Sequence[str], volumes: Sequence[str]) -> None:
        """Removes what an `up` that failed has made beside what was there before.

        The engine may still make a container when Compose has ended, and holds its volumes meanwhile: on a first `up` that
        is waited for. Later it may as well be a container from before that holds them, and then they stay.
        """

        def left() -> str | None:
            made = [each for name, each in self._fleet.containers().items() if name not in present]
            self._fleet.remove(made, volumes=True)
            for network in set(self._networks()).difference(networks):
                with suppress(APIError):
                    self._client.remove_network(network)
            for volume in set(self._volumes()).difference(volumes):
                with suppress(APIError):
                    self._client.remove_volume(volume)
            return ", ".join({*self._networks(), *self._volumes()}.difference(networks, volumes)) or None

        with suppress(OutcomeUnknown):
            wait_until(left, Deadline(0 if present else _ENGINE_ENDS_WITHIN_S), what="the engine")

    def _networks(self) -> list[str]:
        return [each["Id"] for each in self._client.networks(filters=self._ours)]

    def _volumes(self) -> list[str]:
        return [each["Name"] for each in self._client.volumes(filters=self._ours)["Volumes"] or ()]

    def _joined(self, id_: str) -> list[str]:
        """The stack's networks that the container is in."""
        joined = self._client.inspect_container(id_)["NetworkSettings"]["Networks"].values()
        ids = {network["NetworkID"] for network in joined}
        return [network for network in self._networks() if network in ids]

    def _disconnect(self, id_: str) -> None:
        for network in self._joined(id_):
            self._client.disconnect_container_from_network(id_, network, force=True)

    def _connect(self, id_: str) -> None:
        """Under the names that others know it by: Compose gives every container its service's name."""
        container = self._client.inspect_container(id_)
        joined = self._joined(id_)
        names = [container["Config"]["Labels"][engine.SERVICE], container["Name"].removeprefix("/")]
        for network in self._networks():
            if network not in joined:
                self._client.connect_container_to_network(id_, network, aliases=names)


def _is_up(container: Container | None) -> bool:
    return container is not None and container.is_up
