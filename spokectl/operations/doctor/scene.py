"""What the checks look at: a stack, its state folder, its runtime, its servers; each once, when it is needed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from spokectl.errors import NotFound, Refused, SpokectlError
from spokectl.model import Kind, RunState, Service, Stack
from spokectl.operations.context import Context, open_context, open_stack
from spokectl.operations.doctor.findings import NotChecked
from spokectl.operations.health import ServiceStatus, observe
from spokectl.runtime.select import AUTO, LOCAL, runtime_for
from spokectl.settings import StackState, command_line

V = TypeVar("V")


class once(Generic[V]):  # noqa: N801 - a decorator
    """A property that is worked out once, also where that raises: what hangs is not asked again by every check."""

    def __init__(self, get: "Callable[[Scene], V]") -> None:
        self._get = get

    def __get__(self, scene: "Scene", _: type) -> V:
        kept = scene.looked_at
        if self._get not in kept:
            try:
                kept[self._get] = self._get(scene)
            except Exception as error:  # noqa: BLE001 - raised here, and again for whoever asks again
                kept[self._get] = error
        found = kept[self._get]
        if isinstance(found, Exception):
            raise found
        return cast(V, found)


class Scene:
    """One look at a stack and its machine. What cannot be had is NotChecked, with the reason, for whoever asks for it."""

    def __init__(self, name: str, file: Path | None) -> None:
        self.name = name
        self.file = file
        self.looked_at: dict[Any, Any] = {}

    def command(self, words: str) -> str:
        return command_line(self.name, words)

    @once
    def state(self) -> StackState:
        return _had("the stack's state folder", lambda: StackState(self.name))

    @once
    def stack(self) -> Stack:
        return _had("the stack file", lambda: self._context.stack if self._context else open_stack(self.name, self.file))

    @once
    def _context(self) -> Context | None:
        """None for a stack that was never brought up."""
        try:
            return open_context(self.name, self.file)
        except NotFound:
            return None

    @property
    def runtime_name(self) -> str:
        """`docker`, `local`, or empty where none has been chosen yet."""
        try:
            record = self.state.read_record()
            context = None if record else self._context
        except (SpokectlError, NotChecked):
            return ""
        if record is not None:
            return record.runtime
        asked = os.environ.get("SPOKECTL_RUNTIME") or AUTO
        return context.runtime.name if context else "" if asked == AUTO else asked

    @once
    def context(self) -> Context:
        """The stack as it was brought up; NotChecked where it never was."""
        context = _had("the stack", lambda: self._context)
        if context is None:
            raise NotChecked("the stack was never brought up")
        return context

    @once
    def context_for_up(self) -> Context:
        """The stack as `up` would see it, in native processes where it was never brought up."""
        stack = self.stack
        return self._context or Context(stack, self.state, runtime_for(self.runtime_name or LOCAL, stack, self.state))

    @once
    def statuses(self) -> list[ServiceStatus]:
        """Every service as it runs and answers; NotChecked where nothing runs."""
        context = self.context
        try:
            seen = context.runtime.inspect()
        except Refused as error:
            if "engine" not in error.code:
                raise
            # That there is no engine is said by a check of its own.
            raise NotChecked(error.message) from error
        if not any(each.pid for each in seen.values()):
            raise NotChecked("the stack does not run")
        return observe(context, context.stack.services)

    @property
    def runs(self) -> bool:
        try:
            return bool(self.statuses)
        except (NotChecked, SpokectlError):
            return False

    def running(self, kind: Kind) -> list[Service]:
        """The services of the kind that run; NotChecked where none does."""
        running = {each.service for each in self.statuses if each.state is RunState.RUNNING}
        found = [service for service in self.stack.of_kind(kind) if service.name in running]
        if not found:
            raise NotChecked(f"no service of the kind {kind} runs")
        return found


def _had(what: str, get: Callable[[], V]) -> V:
    try:
        return get()
    except SpokectlError as error:
        raise NotChecked(f"{what} cannot be read: {error.message}") from error
