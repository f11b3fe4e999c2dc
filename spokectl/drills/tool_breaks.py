"""The operator's tool is killed in the middle of what it does."""

from spokectl.drills.faults import Fault, Undo
from spokectl.drills.shell import typed
from spokectl.errors import Failed
from spokectl.journal import Underway
from spokectl.model import RunState
from spokectl.operations.context import Context
from spokectl.wait import Deadline, wait_until

_STEP_POLL_S = 0.002


def tool_killed(step: str, *words: str) -> Fault:
    """`spokectl WORDS` in a process of its own, ended by SIGKILL as soon as its journal says that it takes the step."""

    def inject(context: Context, deadline: Deadline) -> None:
        with typed(context, *words) as process:

            def blocker() -> str | None:
                found = Underway(context.state.underway_file).unfinished()
                if found is not None and step in found.begun:
                    return None
                if process.poll() is not None:
                    raise Failed("not_killed", f"spokectl {' '.join(words)} had ended before it could be killed")
                return f"it has not come to the step {step}"

            wait_until(blocker, deadline, what=f"spokectl comes to the step {step}", interval_s=_STEP_POLL_S)
            process.kill()

    return Fault(f"spokectl {' '.join(words)} killed at the step {step}", Undo("end_move"), inject)


def up_killed(*services: str) -> Fault:
    """`spokectl up` in a process of its own, ended by SIGKILL as soon as half of the services run again."""

    def inject(context: Context, deadline: Deadline) -> None:
        with typed(context, "up") as process:

            def blocker() -> str | None:
                seen = context.runtime.inspect()
                running = [name for name in services if seen[name].state is RunState.RUNNING]
                if len(running) * 2 >= len(services):
                    return None
                if process.poll() is not None:
                    raise Failed("not_killed", "spokectl up had ended before it could be killed")
                return f"{len(running)} of {len(services)} services run"

            wait_until(blocker, deadline, what="spokectl up has half of the services running")
            process.kill()

    return Fault("spokectl up killed when half of the services run", Undo("start", services), inject)
