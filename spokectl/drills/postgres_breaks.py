"""What drills do inside PostgreSQL's nodes, beyond what can be done to any service; each with how it is undone."""

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from spokectl.clients.writers import TABLE
from spokectl.drills.breaks import cut_off
from spokectl.drills.faults import UNDOS, Fault, Undo, undo_act
from spokectl.drills.links import Link
from spokectl.drills.shell import SCRIPT_TIMEOUT_S, in_node
from spokectl.errors import Failed, NotFound, OutcomeUnknown, Refused
from spokectl.model import RunState
from spokectl.operations.context import Context
from spokectl.operations.postgres.console import Guards
from spokectl.operations.postgres.pair import bring
from spokectl.operations.postgres.reinit import ReinitRequest, look, reinit
from spokectl.operations.readiness import wait_until_ready
from spokectl.result import unheard
from spokectl.wait import Deadline, wait_until

_MARK = "marked-by-a-drill"
_STREAMS_FROM = "SELECT sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'"
_RECEIVER = "SELECT pid FROM pg_stat_wal_receiver"
# With these a standby that is away is left behind after a few segments, and not after gigabytes.
_SHORT = {"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"}
_HALTS = 'for _ in $(seq "$2"); do kill -STOP "$1"; sleep 0.2; kill -CONT "$1"; sleep 0.02; done'
_KILL_REWIND = r"""
end=$(($(date +%s) + $1))
while [ "$(date +%s)" -lt "$end" ]; do
    found=$(ps -A -o pid=,args= | awk -v of="-D $PGDATA " '$2 ~ /(^|\/)pg_rewind$/ && index($0, of) { print $1; exit }')
    if [ -n "$found" ] && kill -KILL "$found"; then echo killed; exit 0; fi
    sleep 0.01
done
exit 1
"""


def in_database(context: Context, node: str, *statements: str) -> str:
    """What the node's server answers its superuser, who comes by the socket; errors as `in_node`."""
    return in_node(context, node, _PSQL, *statements)


_PSQL = """
for statement; do
    psql -XAtq -v ON_ERROR_STOP=1 -U postgres -d "${SPOKE_POSTGRES_DATABASE:-spoke}" -c "$statement" || exit
done
"""


def rows(context: Context, node: str) -> list[str]:
    """The rows that the drill's SQL clients have there, as that node has them."""
    return in_database(context, node, f"TABLE {TABLE}").split()


# The server and its guard.


def promoted_by_hand(standby: str, primary: str) -> Fault:
    """`pg_ctl promote` on the standby, past every tool."""

    def inject(context: Context, _: Deadline) -> None:
        in_node(context, standby, 'pg_ctl promote -D "$PGDATA"')

    return Fault(f"{standby} promoted by hand beside {primary}", Undo("start", (standby, primary)), inject)


def kill_rewind(context: Context, node: str, within_s: int) -> bool:
    """Waits for a pg_rewind of the node's data and kills it; False when none came."""
    try:
        return bool(in_node(context, node, _KILL_REWIND, str(within_s), timeout_s=within_s + SCRIPT_TIMEOUT_S))
    except Failed:
        return False


def marked(node: str) -> Fault:
    """A file in the node's data that no other node has: a copy of another node's data takes it away."""

    def inject(context: Context, _: Deadline) -> None:
        in_node(context, node, f'touch "$PGDATA/{_MARK}"')

    return Fault(f"the data of {node} marked", Undo("remove_mark", (node,)), inject)


def is_marked(context: Context, node: str) -> bool:
    return _MARK in in_node(context, node, 'ls "$PGDATA"').split()


# Replication.


def cut_off_primary(primary: str) -> Fault:
    """As `cut_off`, of one that is killed by an operator meanwhile: connected again it is started too."""
    return replace(cut_off(primary), undo=Undo("connect_and_start", (primary,)))


def receiver_frozen(standby: str) -> Fault:
    """The standby's WAL receiver stands still: it answers, and falls behind."""

    def inject(context: Context, _: Deadline) -> None:
        in_node(context, standby, 'kill -STOP "$1"', _receiver_of(context, standby))

    return Fault(f"the WAL receiver of {standby} frozen", Undo("thaw_receiver", (standby,)), inject)


def receiver_slow(standby: str, times: int) -> Fault:
    """The standby's WAL receiver stands still for 0.2 s, again and again: commits hear of it as late. It ends by itself."""

    def inject(context: Context, _: Deadline) -> None:
        in_node(context, standby, _HALTS, _receiver_of(context, standby), str(times))

    return Fault(f"{standby} confirms {times} times only after 0.2 s", Undo("thaw_receiver", (standby,)), inject)


def led_through(standby: str, link: Link) -> Fault:
    """The standby takes its WAL over the link, which ends at the primary; for native processes, which reach this one."""

    def inject(context: Context, deadline: Deadline) -> None:
        host, port = link.address
        now = in_database(context, standby, "SHOW primary_conninfo")
        # Of a keyword that comes twice the last one counts.
        over = f"{now} host='{host}' port='{port}'".replace("'", "''")
        in_database(context, standby, f"ALTER SYSTEM SET primary_conninfo = '{over}'", "SELECT pg_reload_conf()")

        def blocker() -> str | None:
            found = in_database(context, standby, _STREAMS_FROM)
            return None if found == str(port) else f"it streams from port {found or '(none)'}"

        wait_until(blocker, deadline, what=f"{standby} streams over the link")

    undo = Undo("reset_settings", (standby,), {"names": ["primary_conninfo"]})
    return Fault(f"{standby} streams over a link that can be broken", undo, inject)


def little_wal_kept(primary: str, standby: str) -> Fault:
    """The primary drops WAL that an absent standby needs after a few megabytes."""

    def inject(context: Context, _: Deadline) -> None:
        settings = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in _SHORT.items()]
        in_database(context, primary, *settings, "SELECT pg_reload_conf()")

    undo = Undo("reset_settings", (primary, standby), {"names": list(_SHORT)})
    return Fault(f"{primary} keeps next to no WAL for a standby that is away", undo, inject)


def killed_with_own_writes(primary: str) -> Fault:
    """As `killed`, of a primary that may hold writes which nobody else has. They are given up when it may not join else."""

    def inject(context: Context, deadline: Deadline) -> None:
        context.runtime.kill([primary], deadline)

    return Fault(f"{primary} killed", Undo("start_or_copy", (primary,)), inject)


# How it is undone.


@undo_act("thaw_receiver")
def _thaw_receiver(context: Context, undo: Undo, deadline: Deadline) -> None:
    (standby,) = undo.services
    # Where it does not run its receiver has died with it.
    seen = context.runtime.inspect().get(standby)
    if seen is not None and seen.state is RunState.RUNNING:
        _tried_until(deadline, f"the receiver of {standby} goes on", _continue_receiver, context, standby)


def _continue_receiver(context: Context, standby: str) -> None:
    if receiver := in_database(context, standby, _RECEIVER):
        in_node(context, standby, 'kill -CONT "$1" 2>/dev/null || true', receiver)


@undo_act("remove_mark")
def _remove_mark(context: Context, undo: Undo, deadline: Deadline) -> None:
    for node in undo.services:
        _tried_until(deadline, f"{node} is not marked", in_node, context, node, f'rm -f "$PGDATA/{_MARK}"')


@undo_act("reset_settings")
def _reset_settings(context: Context, undo: Undo, deadline: Deadline) -> None:
    """On each node that may have them: a copy takes the primary's to the standby."""
    statements = [f"ALTER SYSTEM RESET {name}" for name in undo.values["names"] if re.fullmatch(r"\w+", name)]
    for node in undo.services:
        _tried_until(
            deadline, f"{node} takes settings back", in_database, context, node, *statements, "SELECT pg_reload_conf()"
        )


@undo_act("connect_and_start")
def _connect_and_start(context: Context, undo: Undo, deadline: Deadline) -> None:
    for act in ("restore_network", "start"):
        UNDOS[act](context, undo, deadline)


@undo_act("start_or_copy")
def _start_or_copy(context: Context, undo: Undo, deadline: Deadline) -> None:
    (node,) = undo.services
    # Of one that was broken off only the end could be missing that the node itself is in the way of.
    UNDOS["end_move"](context, undo, deadline)
    give_up_own_writes(context, node, deadline)
    wait_until_ready(context, [node], deadline, unheard)


def give_up_own_writes(context: Context, node: str, deadline: Deadline) -> bool:
    """The node is started; where its guard refuses because of what only it has, that is given up. Whether it was."""
    with closing(Guards(context.runtime)) as guards:
        bring(context, guards, node, unheard)
        if guards.status(node)["status"].get("code") != "diverged-unprotected":
            return False
    request = ReinitRequest(node, discard=True, timeout_s=deadline.remaining_s)
    reinit(context, request, look(context, request, unheard), unheard)
    return True


def _receiver_of(context: Context, standby: str) -> str:
    receiver = in_database(context, standby, _RECEIVER)
    if not receiver:
        raise Failed("no_receiver", f"{standby} receives no WAL")
    return receiver


def _tried_until(deadline: Deadline, what: str, act: Callable[..., object], *words: object) -> None:
    def blocker() -> str | None:
        try:
            act(*words)
        except (Failed, NotFound, Refused, OutcomeUnknown) as error:
            return error.message
        return None

    wait_until(blocker, deadline, what=what, interval_s=0.5)
