"""All containers of one stack, and how they are stopped: in good order, by the engine, which goes on when we do not."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Thread

from docker import APIClient
from docker.errors import APIError
from docker.errors import NotFound as GoneError

from spokectl.errors import OutcomeUnknown, Refused
from spokectl.model import Service, Stack
from spokectl.runtime.answers import still_running
from spokectl.runtime.docker import engine
from spokectl.runtime.docker.engine import Container
from spokectl.runtime.docker.inspection import is_being_stopped
from spokectl.runtime.order import stop_stages
from spokectl.wait import Deadline, wait_until

_STANDBY = 'test -e "$PGDATA/standby.signal"'
# A stop that the engine has not even begun by then is a matter of an engine that hangs.
_ENGINE_BEGINS_WITHIN_S = 10.0


class Fleet:
    """Finds, stops and removes the stack's containers. `connect` gives a new connection to the engine."""

    def __init__(self, stack: Stack, client: APIClient, connect: Callable[[], APIClient]) -> None:
        self._stack = stack
        self._client = client
        self._connect = connect

    def containers(self) -> dict[str, Container]:
        """The container of each service, those of the stack file first, in its order."""
        everyone = engine.containers(self._client, self._stack.name)
        found = {each.service: each for each in everyone if not each.is_one_off}
        known = {name: found[name] for name in self._stack.services if name in found}
        return known | dict(sorted(found.items()))  # the engine has an order of its own

    def each(self, doing: str, chosen: Sequence[Container], act: Callable[[str], object]) -> None:
        """Does it to all containers at once. Failed (`engine_failed`) with the engine's words for the first that refuses."""

        def one(container: Container) -> None:
            try:
                act(container.id)
            except APIError as error:
                raise engine.failed(error, f"{doing} {container.name}") from error

        if chosen:
            with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
                list(pool.map(one, chosen))

    def remove(self, chosen: Iterable[Container], *, volumes: bool = False) -> None:
        """With `volumes` also those that an image makes for itself, which have neither a name nor a label."""

        def remove(id_: str) -> None:
            with suppress(GoneError):
                self._client.remove_container(id_, force=True, v=volumes)

        self.each("remove", list(chosen), remove)

    def stop(self, chosen: Mapping[str, Container], deadline: Deadline) -> None:
        """In good order. OutcomeUnknown at the deadline names what runs still: the engine goes on stopping that."""
        known = [self._stack.services[name] for name in chosen if name in self._stack.services]
        stages = [[name for name in chosen if name not in self._stack.services], *stop_stages(known, self._is_standby)]
        for stage in stages:
            going = {name: chosen[name] for name in stage if chosen[name].is_up}
            requests = {name: Thread(target=self._ask_to_stop, args=(name, going[name]), daemon=True) for name in going}
            for request in requests.values():
                request.start()
            try:
                self.wait_until_down(going, chosen, deadline)
            except OutcomeUnknown:
                self._wait_until_begun(requests, going)
                raise

    def being_stopped(self, chosen: Mapping[str, Container]) -> dict[str, Container]:
        """Those that somebody, perhaps a command that was killed, has asked to end: the engine's states do not tell."""
        sent = engine.signals_sent(self._client, self._stack.name)
        found = {}
        for name, container in chosen.items():
            signals = [(signal, at) for id_, signal, at in sent if id_ == container.id]
            if container.is_up and signals:
                with suppress(GoneError):
                    if is_being_stopped(self._client.inspect_container(container.id), signals):
                        found[name] = container
        return found

    def wait_until_down(self, going: Mapping[str, Container], all_: Mapping[str, Container], deadline: Deadline) -> None:
        """Returns once the containers that are `going` have ended. OutcomeUnknown names those of `all_` that have not."""

        def up() -> set[str]:
            return {each.id for each in engine.containers(self._client, self._stack.name) if each.is_up}

        def blocker() -> str | None:
            ids = up()
            return ", ".join(name for name, each in going.items() if each.id in ids) or None

        try:
            wait_until(blocker, deadline, what="stopping")
        except OutcomeUnknown as error:
            left = up()
            names = [name for name, each in all_.items() if each.id in left]
            if names:
                raise still_running(self._stack.name, names, deadline) from error

    def _ask_to_stop(self, name: str, container: Container) -> None:
        """The engine answers only once the container has ended, so this runs beside the wait for that."""
        service = self._stack.services.get(name)
        grace_s = math.ceil(service.stop_grace_s) if service is not None else None
        with suppress(APIError, OSError, Refused), closing(self._connect()) as client:
            client.stop(container.id, timeout=grace_s)

    def _wait_until_begun(self, requests: Mapping[str, Thread], going: Mapping[str, Container]) -> None:
        """The requests end with the command: it must not end before the engine acts on each, however short its time is."""

        def blocker() -> str | None:
            unanswered = {name: going[name] for name, request in requests.items() if request.is_alive()}
            begun = self.being_stopped(unanswered) if unanswered else {}
            return ", ".join(unanswered.keys() - begun.keys()) or None

        with suppress(OutcomeUnknown):
            wait_until(blocker, Deadline(_ENGINE_BEGINS_WITHIN_S), what="the engine's begin of a stop")

    def _is_standby(self, service: Service) -> bool:
        """What its data directory says; a container that does not run cannot be asked, and need not be."""
        container = self.containers().get(service.name)
        if container is None or container.state != "running":
            return False
        try:
            command = self._client.exec_create(container.id, ["sh", "-c", _STANDBY])
            self._client.exec_start(command["Id"])
            return bool(self._client.exec_inspect(command["Id"])["ExitCode"] == 0)
        except APIError:
            return False  # it has ended meanwhile
