"""The object store, in which the files of the registry are: gone for a moment, gone for long, silent."""

from contextlib import closing

from spokectl.clients.writers import RegistryWriter
from spokectl.drills.breaks import frozen, killed, stopped
from spokectl.drills.catalog.restarts import back_by_itself
from spokectl.drills.drill import drill
from spokectl.drills.faults import Fault
from spokectl.drills.figures import API
from spokectl.drills.history import Request, Write
from spokectl.drills.stage import Stage
from spokectl.model import Kind
from spokectl.operations.registry import address_of

GROUP = "Object store"


@drill(
    "s3-stop",
    group=GROUP,
    breaks="the object store is stopped until the registry gives up waiting for it",
    holds="every read is answered, writes wait and are then refused in plain words, and nothing acknowledged is lost",
)
def stop_store(stage: Stage) -> None:
    _without_a_store(stage, stopped(*stage.names(Kind.S3)))


@drill(
    "s3-freeze",
    group=GROUP,
    breaks="the object store stands still with its connections open until the registry gives up waiting for it",
    holds="every read is answered, writes wait and are then refused in plain words, and nothing acknowledged is lost",
)
def freeze_store(stage: Stage) -> None:
    _without_a_store(stage, frozen(*stage.names(Kind.S3)))


@drill(
    "s3-kill",
    group=GROUP,
    breaks="the object store is killed and started again, then it crashes and nobody types anything",
    holds="writes wait for it; the runtime starts what crashed again by itself, and no request fails",
    objective={"rto": 15.0, "failed": 0},
)
def kill_store(stage: Stage) -> None:
    with stage.broken(killed(*stage.names(Kind.S3))):
        pass
    stage.go_on()
    for name in stage.names(Kind.S3):
        back_by_itself(stage, name)
    stage.go_on()


def _without_a_store(stage: Stage, fault: Fault) -> None:
    unread: list[str] = []
    asked = 0
    key = next(each.key for each in stage.load.saw.requests if each.layer == API and isinstance(each, Write) and each.ok)
    with closing(RegistryWriter(address_of(stage.context.stack))) as registry, stage.broken(fault):

        def blocker() -> str | None:
            # The clients themselves wait for their writes.
            nonlocal asked
            asked += 1
            try:
                registry.read(key)
            except Exception as error:  # noqa: BLE001 - whatever it is, it was not read
                unread.append(str(error))
            return None if _failed(stage) else "all of them wait"

        stage.until("a write is refused", blocker, within_s=60.0)
    stage.expect("reads go on", not unread, "; ".join(unread[:3]) or f"{asked} of {asked} were answered")
    stage.go_on()
    bad = [f"{each.key}: {each.why}" for each in _failed(stage) if not (isinstance(each, Write) and "503" in each.why)]
    stage.expect("only writes failed, each with a 503", not bad, "; ".join(bad[:3]) or f"{len(_failed(stage))} of them")


def _failed(stage: Stage) -> list[Request]:
    return [each for each in stage.load.saw.requests if each.layer == API and not each.ok]
