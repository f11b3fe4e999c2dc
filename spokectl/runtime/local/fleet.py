"""All processes of one stack: those that supervisord looks after, and those that a lost supervisord left behind."""

import signal
from collections.abc import Iterable, Mapping, Sequence

import psutil

from spokectl.errors import OutcomeUnknown
from spokectl.model import Service, Stack
from spokectl.runtime.answers import still_running
from spokectl.runtime.local import processes
from spokectl.runtime.local.places import Places
from spokectl.runtime.local.supervisor import ENDED, Program, State, Supervisor
from spokectl.runtime.local.translate import Translator
from spokectl.runtime.order import stop_stages
from spokectl.wait import Deadline

RUNS = frozenset({State.RUNNING, State.STARTING})
Trees = dict[str, list[psutil.Process]]
# supervisord counts grace periods in whole seconds and kills a moment after them.
_AFTER_GRACE_S = 15.0


class Fleet:
    """Stops, freezes and kills services whole: every process of theirs, however it came to be."""

    def __init__(self, stack: Stack, places: Places, supervisor: Supervisor) -> None:
        self._stack = stack
        self._places = places
        self._supervisor = supervisor

    def trees(self, services: Iterable[str], programs: Mapping[str, Program] | None) -> Trees:
        """The processes of each service that has any, the root of each first."""
        names = list(services)
        if not names:
            return {}
        snapshot = processes.Snapshot()
        found = {}
        for name in names:
            pid = programs[name].pid if programs and name in programs else 0
            tree = snapshot.of_service(self._places.pid_file(name), pid)
            if tree:
                found[name] = tree
        return found

    def orphans(self) -> Trees:
        """What runs of this stack without a supervisord that answers, found by pid files."""
        if not self._places.pid_files.is_dir():
            return {}
        return self.trees((path.name for path in self._places.pid_files.iterdir() if path.suffix != ".failed"), None)

    def take_over(self, deadline: Deadline) -> None:
        """Ends everything that a lost supervisord left behind, and that supervisord itself, should it hang."""
        lost = processes.root_of(self._places.supervisor_pid)
        if lost is not None:
            processes.kill([lost])
        self.end_orphans(self.orphans(), deadline)
        # They were to find orphans. Kept, they would name strangers one day.
        if self._places.pid_files.is_dir():
            self._forget(path.name for path in self._places.pid_files.iterdir())

    def end_orphans(self, orphans: Trees, deadline: Deadline) -> None:
        """As `stop`, without a supervisord: asks every root to end, and kills the trees that have not in time."""
        for stage in self._stages(orphans):
            for name in stage:
                for process in self._asked_to_end(name, orphans[name]):
                    processes.send(process, signal.SIGTERM)
            everyone = [process for name in stage for process in orphans[name]]
            processes.thaw(everyone)
            left = processes.wait_for_end(everyone, within_s=deadline.capped(self._longest_grace_s(stage)).remaining_s)
            if left and deadline.passed:
                raise still_running(
                    self._stack.name, [name for name, tree in orphans.items() if processes.living(tree)], deadline
                )
            processes.kill(left)

    def stop(self, services: Sequence[str], programs: Mapping[str, Program], deadline: Deadline) -> None:
        """Stops supervised services in good order; whatever a dead root leaves of its tree is killed."""
        for stage in self._stages(services):
            trees = self.trees(stage, programs)
            self._supervisor.ask_to_stop([name for name in stage if programs[name].state not in ENDED])
            everyone = [process for tree in trees.values() for process in tree]
            processes.thaw(everyone)
            self._wait_until_ended(stage, self._longest_grace_s(stage) + _AFTER_GRACE_S, services, deadline)
            processes.kill(everyone)
            self._forget(stage)

    def kill(self, services: Sequence[str], programs: Mapping[str, Program] | None, deadline: Deadline) -> None:
        """Ends whole trees with SIGKILL. Frozen first: none sees another one die, and no stop signal is delivered."""
        trees = self.trees(services, programs)
        frozen = processes.freeze(process for tree in trees.values() for process in tree)
        supervised = [name for name in services if programs and name in programs and programs[name].state not in ENDED]
        # A process that was killed while supervisord stops it is not started again.
        self._supervisor.ask_to_stop(supervised)
        processes.kill(frozen)
        self._wait_until_ended(supervised, _AFTER_GRACE_S, supervised, deadline)
        self._forget(services)

    def _wait_until_ended(
        self, stage: Sequence[str], patience_s: float, services: Sequence[str], deadline: Deadline
    ) -> None:
        """Returns once the stage has ended. OutcomeUnknown names which of all the `services` run still."""
        try:
            self._supervisor.wait_until_ended(stage, deadline.capped(patience_s))
        except OutcomeUnknown as error:
            known = self._supervisor.programs() or {}
            running = [name for name in services if name in known and known[name].state not in ENDED]
            if running:
                raise still_running(self._stack.name, running, deadline) from error

    def _asked_to_end(self, service: str, tree: list[psutil.Process]) -> list[psutil.Process]:
        """The root alone, which stops its children in good order; where it is dead, all that it has left."""
        recorded = processes.read_pid_file(self._places.pid_file(service))
        return tree[:1] if recorded and recorded[0] == tree[0].pid else tree

    def _forget(self, services: Iterable[str]) -> None:
        for name in services:
            self._places.pid_file(name).unlink(missing_ok=True)

    def _stages(self, names: Iterable[str]) -> list[list[str]]:
        known = self._stack.services
        names = list(names)
        removed = [name for name in names if name not in known]
        stages = stop_stages([known[name] for name in names if name in known], self._is_standby)
        return [removed, *stages] if removed else stages

    def _is_standby(self, service: Service) -> bool:
        """What its data directory says, for there may be nobody left to ask."""
        data = service.environment.get("PGDATA")
        if data is None:
            return False
        return (Translator(self._stack, self._places.volume).path(service, data) / "standby.signal").exists()

    def _longest_grace_s(self, names: Iterable[str]) -> float:
        graces = [self._stack.services[name].stop_grace_s for name in names if name in self._stack.services]
        return max(graces, default=10.0)
