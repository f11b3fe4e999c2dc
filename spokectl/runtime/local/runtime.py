"""The local runtime: native processes under supervisord, one stack in one state folder."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from spokectl.errors import Failed, Incomplete, NotFound, OutcomeUnknown, Refused
from spokectl.model import Inspection, Kind, LogLine, RunState, Service, Stack
from spokectl.runtime.answers import not_running
from spokectl.runtime.base import Capabilities, Invocation, Notice, clients_environment, served_ports, unsaid
from spokectl.runtime.local import binaries, processes
from spokectl.runtime.local.fleet import RUNS, Fleet, Trees
from spokectl.runtime.local.inspection import judge, last_exits
from spokectl.runtime.local.places import Places
from spokectl.runtime.local.supervisor import Program, State, Supervisor, clean_environment
from spokectl.settings import StackState, command_line, remedy
from spokectl.wait import Deadline, wait_until

if TYPE_CHECKING:
    from spokectl.runtime.local.preparation import Preparation

_PORTS_FREE_WITHIN_S = 5.0
# What a person's terminal says of itself: a command run by `exec` needs it.
_TERMINAL = ("TERM", "COLORTERM", "COLUMNS", "LINES", "PAGER", "EDITOR")


_GONE = ", and the stack's supervisor is gone"


class LocalRuntime:
    """Implements `spokectl.runtime.base.Runtime`."""

    name = "local"
    capabilities = Capabilities(cut_network=False, limit_memory=False, build_images=False, keeps_logs=True)

    def __init__(
        self,
        stack: Stack,
        state: StackState,
        environ: Mapping[str, str] = os.environ,
        *,
        cache: Path = binaries.CACHE,
    ) -> None:
        self._stack = stack
        self._state = state
        self._environ = dict(environ)
        self._cache = cache if os.geteuid() == 0 else None
        self._places = Places(state)
        self._supervisor = Supervisor(self._places)
        self._fleet = Fleet(stack, self._places, self._supervisor)

    def left_out(self) -> dict[str, str]:
        missing: dict[str, str] = {}
        if not self._collector():
            reason = "no wheel has the OpenTelemetry collector; name one: export SPOKECTL_OTELCOL=/path/to/otelcol"
            missing |= {service.name: reason for service in self._stack.of_kind(Kind.COLLECTOR)}
        if binaries.serves_no_console(self._environ):
            for service in self._stack.of_kind(Kind.S3):
                console = service.environment.get("SPOKE_S3_CONSOLE_PORT")
                missing[f"{service.name}:{console}"] = "the S3 server of the wheels has no console"
        return missing

    def without_effect(self) -> list[str]:
        from spokectl.runtime.local.launcher import is_exportable

        lost = {
            service.name: [name for name in service.environment if not is_exportable(name)] for service in self._supervised()
        }
        return [
            *self._stack.notices,
            *(
                f"{name}: a shell cannot export {', '.join(variables)}: no effect in the local runtime"
                for name, variables in lost.items()
                if variables
            ),
        ]

    def require_free_ports(self, services: Sequence[str]) -> None:
        self._require_free_ports([self._stack.services[name] for name in services], self._supervisor.programs())

    def has_data(self) -> bool:
        return self._state.volumes.is_dir() and any(self._state.volumes.iterdir())

    def bring_up(self, services: Sequence[str], deadline: Deadline, notice: Notice) -> None:
        self._state.ensure()
        left_out = self.left_out()
        wanted = [self._stack.services[name] for name in services if name not in left_out]
        prepared = self._prepared
        programs = self._supervisor.programs()
        orphans = self._fleet.orphans() if programs is None else {}
        running = _running(programs or {})
        changed = [service for service in wanted if self._is_changed(prepared, service, running.get(service.name))]
        to_start = [service for service in wanted if service.name not in running or service in changed]
        self._require_free_ports(to_start, programs)
        prepared.require_space(self._state.folder)
        prepared.require_passage(self._state.folder, wanted)

        with self._writing():
            self._places.remove_doomed_volumes()
            self._places.ensure()
            binaries.install(prepared.binaries, self._places.binaries)
            if programs is None:
                self._begin(prepared, to_start, orphans, deadline, notice)
            else:
                for service in changed:
                    notice(f"{service.name}: restarted, because its settings have changed")
                self._mend(prepared, [service for service in wanted if service not in to_start], programs, deadline, notice)
                self._replace(prepared, to_start, programs, deadline)
            self._supervisor.start([service.name for service in to_start])

    def tear_down(self, deadline: Deadline, *, volumes: bool, notice: Notice) -> list[str]:
        programs = self._supervisor.programs()
        if programs is None:
            ran = self._fleet.orphans()
            if ran:
                notice(f"stopping what a lost supervisor left behind: {', '.join(ran)}")
            self._fleet.take_over(deadline)
        else:
            ran = self._fleet.trees(programs, programs)
            self._fleet.stop(list(programs), programs, deadline)
            self._supervisor.shut_down()
            processes.kill([process for tree in self._fleet.orphans().values() for process in tree])
        self._require_ports_given_back(ran, "down --volumes" if volumes else "down")
        self._places.remove(volumes=volumes)
        return list(ran)

    def start(self, services: Sequence[str], deadline: Deadline) -> None:
        left_out = self.left_out()
        for name in services:
            if name in left_out:
                raise Refused("left_out", f"{name} does not run here: {left_out[name]}")
        programs = self._supervisor.programs()
        if programs is None:
            orphans = self._fleet.orphans()
            raise self._no_supervisor(orphans) if orphans else not_running(self._stack.name)
        running = _running(programs)
        self._thaw([name for name in services if name in running], programs, unsaid)
        to_start = [self._stack.services[name] for name in services if name not in running]
        if to_start:
            prepared = self._prepared
            self._require_free_ports(to_start, programs)
            with self._writing():
                self._replace(prepared, to_start, programs, deadline)
                self._supervisor.start([service.name for service in to_start])

    def stop(self, services: Sequence[str], deadline: Deadline) -> None:
        programs = self._supervisor.programs()
        if programs is None:
            self._fleet.end_orphans(self._fleet.trees(services, None), deadline)
        else:
            self._fleet.stop([name for name in services if name in programs], programs, deadline)

    def kill(self, services: Sequence[str], deadline: Deadline) -> None:
        self._fleet.kill(services, self._supervisor.programs(), deadline)

    def pause(self, services: Sequence[str]) -> None:
        trees = self._running_trees(services)
        processes.freeze(process for tree in trees.values() for process in tree)

    def unpause(self, services: Sequence[str]) -> None:
        trees = self._running_trees(services)
        processes.thaw(process for tree in trees.values() for process in tree)

    def inspect(self) -> dict[str, Inspection]:
        programs = self._supervisor.programs()
        if programs is None:
            return {name: self._inspect_orphan(name) for name in self._stack.services}
        fell = any(program.state in {State.BACKOFF, State.FATAL, State.STOPPED} for program in programs.values())
        exits = last_exits(self._places.supervisor_log) if fell else {}
        return {
            name: replace(
                judge(
                    service,
                    programs.get(name),
                    is_frozen=processes.is_frozen,
                    last_exit=exits.get(name),
                    pausing_after=self._noted_failure(service),
                ),
                version=binaries.version_of(service.kind, self._places.binaries),
            )
            for name, service in self._stack.services.items()
        }

    def invocation(self, service: str, argv: Sequence[str], *, terminal: bool = False) -> Invocation:  # noqa: ARG002
        from spokectl.runtime.local.preparation import entry_script

        found = self._stack.services[service]
        if service not in _running(self._supervisor.programs() or {}):
            # What a lost supervisor left behind runs, too; a look at all processes takes longer than the question itself.
            self._running_trees([service])
        own = clients_environment(found) | self._prepared.environment(found)
        if found.kind is Kind.POSTGRES:
            # As in a container, where every client's default is the server's own socket.
            own |= {"PGHOST": own["SPOKE_RUN_DIR"], "PGPORT": own.get("SPOKE_POSTGRES_PORT", "5432")}
        own["SPOKE_SERVICE_DIR"] = str(entry_script(self._stack, found.kind).parent)
        person = {name: self._environ[name] for name in _TERMINAL if name in self._environ}
        return Invocation(tuple(argv), clean_environment(self._environ) | person | own, Path("/"))

    def logs(self, services: Iterable[str], *, since: datetime | None, tail: int | None, follow: bool) -> Iterator[LogLine]:
        from spokectl.runtime.local import logs

        files = {name: self._places.log(name) for name in services}
        return logs.read(files, since=since, tail=tail, follow=follow)

    def _collector(self) -> Path | None:
        """The collector's program: as set now, or as it was when the running stack was started."""
        link = self._places.binaries / "otelcol"
        return binaries.collector(self._environ) or (link.resolve() if link.exists() else None)

    def _supervised(self) -> list[Service]:
        left_out = self.left_out()
        return [service for service in self._stack.services.values() if service.name not in left_out]

    @cached_property
    def _prepared(self) -> "Preparation":
        from spokectl.runtime.local.preparation import Preparation

        kinds = {service.kind for service in self._supervised()}
        collector = self._collector()
        environ = self._environ | ({"SPOKECTL_OTELCOL": str(collector)} if collector else {})
        found = binaries.find_binaries(kinds, environ, cache=self._cache)
        return Preparation(self._stack, self._places, found, self.left_out())

    def changed(self, services: Sequence[str], deadline: Deadline) -> list[str]:  # noqa: ARG002 - nothing to wait for
        programs = self._supervisor.programs()
        if programs is None:
            return []
        prepared, running = self._prepared, _running(programs)
        known = [self._stack.services[name] for name in services if name not in self.left_out()]
        return [service.name for service in known if self._is_changed(prepared, service, running.get(service.name))]

    def _is_changed(self, prepared: "Preparation", service: Service, program: Program | None) -> bool:
        """Whether the running process was started by another launcher than the one that the stack file gives now."""
        pid, digest = processes.read_pid_file(self._places.pid_file(service.name)) or (0, "")
        # A process that has not written its file yet was started this moment.
        return program is not None and pid == program.pid and digest != prepared.script(service).digest

    def _require_free_ports(self, services: Iterable[Service], programs: Mapping[str, Program] | None) -> None:
        from spokectl.runtime import ports

        def own() -> set[int]:
            trees = self._fleet.orphans() if programs is None else self._fleet.trees(programs, programs)
            return {process.pid for tree in trees.values() for process in tree}

        left_out = self.left_out()
        wanted = [ports.Wanted(service.name, port) for service in services for port in served_ports(service, left_out)]
        ports.require_free(wanted, own, stack=self._stack)

    def _begin(
        self, prepared: "Preparation", services: Sequence[Service], orphans: Trees, deadline: Deadline, notice: Notice
    ) -> None:
        """Starts a new supervisord that knows the services, after whatever a lost one has left behind."""
        if orphans:
            names = ", ".join(orphans)
            notice(
                f"the supervisor was gone, so what it had started was stopped, a standby first, and started again: {names}"
            )
        self._fleet.take_over(deadline)
        prepared.write(services)
        prepared.write_configuration(self._supervised())
        self._supervisor.spawn(clean_environment(self._environ))

    def _mend(
        self,
        prepared: "Preparation",
        healthy: Sequence[Service],
        programs: Mapping[str, Program],
        deadline: Deadline,
        notice: Notice,
    ) -> None:
        """Brings in order what is not to be restarted: what is paused goes on, what the stack no longer has ends."""
        self._thaw([service.name for service in healthy], programs, notice)
        self._remove_unknown(programs, deadline, notice)
        # Their next start, by themselves, shall know where services that are new can be reached.
        prepared.write(healthy)

    def _replace(
        self, prepared: "Preparation", services: Sequence[Service], programs: Mapping[str, Program], deadline: Deadline
    ) -> None:
        """Makes supervisord know these services as they are described now; they do not run afterwards."""
        names = [service.name for service in services]
        self._fleet.stop([name for name in names if name in programs], programs, deadline)
        prepared.write(services)
        prepared.write_configuration(self._supervised())
        self._supervisor.reload()
        self._supervisor.add(names, known=programs)

    def _remove_unknown(self, programs: Mapping[str, Program], deadline: Deadline, notice: Notice) -> None:
        """Ends services that the stack file no longer has."""
        gone = sorted(programs.keys() - {service.name for service in self._supervised()})
        if gone:
            notice(f"removed, because they are no longer part of the stack: {', '.join(gone)}")
            self._fleet.stop(gone, programs, deadline)
            self._supervisor.remove(gone)

    def _thaw(self, names: Sequence[str], programs: Mapping[str, Program], notice: Notice) -> None:
        paused = [name for name in names if processes.is_frozen(programs[name].pid)]
        for tree in self._fleet.trees(paused, programs).values():
            processes.thaw(tree)
        if paused:
            notice(f"paused until now: {', '.join(paused)}")

    def _running_trees(self, services: Sequence[str]) -> Trees:
        """The processes of services that all have to run. NotFound (`not_running`) names those that do not."""
        programs = self._supervisor.programs()
        trees = self._fleet.trees(services, programs)
        missing = [name for name in services if name not in trees]
        if missing and programs is None and not self._fleet.orphans():
            raise not_running(self._stack.name)
        if missing and programs is None:
            message = f"not running: {', '.join(missing)}{_GONE}"
            raise NotFound("not_running", message, actions=[self._command("up")])
        if missing:
            raise not_running(self._stack.name, missing)
        return trees

    def _no_supervisor(self, orphans: Iterable[str]) -> Refused:
        return Refused(
            "no_supervisor",
            f"nothing can be started{_GONE}; without it run: {', '.join(orphans)}",
            actions=[self._command("up") + "  # restarts these under a new one"],
        )

    def _command(self, words: str) -> str:
        return command_line(self._stack.name, words)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A disk that gives out half-way is said with the file; what has begun, the next `up` finishes."""
        try:
            yield
        except OSError as error:
            raise Failed(
                "cannot_write",
                f"{error.filename or self._state.folder} cannot be written: {error.strerror or error}",
                actions=[f"{remedy(error)}, and run: {self._command('up')}"],
            ) from error

    def _inspect_orphan(self, service: str) -> Inspection:
        root = processes.root_of(self._places.pid_file(service))
        if root is None:
            return Inspection(service, RunState.ABSENT)
        state = RunState.PAUSED if processes.is_frozen(root.pid) else RunState.RUNNING
        up = self._command("up")
        started_at = datetime.fromtimestamp(root.create_time(), UTC)
        return Inspection(
            service, state, root.pid, started_at, detail=f"its supervisor is gone: `{up}` restarts it under a new one"
        )

    def _noted_failure(self, service: Service) -> int | None:
        if not service.restart.startswith("on-failure"):
            return None
        noted = processes.read_pid_file(self._places.failure_file(service.name))
        return noted[0] if noted else None

    def _require_ports_given_back(self, ran: Iterable[str], again: str) -> None:
        services = [self._stack.services[name] for name in ran if name in self._stack.services]
        from spokectl.runtime import ports

        wanted = [ports.Wanted(service.name, port) for service in services for port in service.ports]

        def blocker() -> str | None:
            return ", ".join(map(str, ports.still_listening(wanted))) or None

        try:
            wait_until(blocker, Deadline(_PORTS_FREE_WITHIN_S), what="giving the ports back")
        except OutcomeUnknown as error:
            raise Incomplete(
                "port_still_taken",
                f"everything of the stack has ended, but something listens still: {error.details['reason']}",
                actions=["find it: ss -ltnp (Linux) or lsof -iTCP -sTCP:LISTEN (macOS)", self._command(again)],
            ) from error


def _running(programs: Mapping[str, Program]) -> dict[str, Program]:
    return {name: program for name, program in programs.items() if program.state in RUNS}
