"""Services as an observation shows them, for the rules and tables that read it."""

from dataclasses import replace

from spokectl.facts import Follower, PostgresFacts, Receiver, RedisFacts, RedisReplica, SentinelFacts, Slot
from spokectl.model import Kind, RunState
from spokectl.operations.health import ServiceStatus
from spokectl.operations.postgres.guard import ClusterRecord

STREAMING = Follower("spoke_standby", "streaming", "quorum", "0/3000100", 0, 0, 0, 0.001, 0.002, 0.003, 0.5)
SLOT = Slot("replica_slot", "physical", True, "0/3000000", 256, "reserved", 1 << 31)
PRIMARY = PostgresFacts("primary", 1, "0/3000100", None, None, None, None, True, 8, 200, 6, None, (STREAMING,), (SLOT,))
RECEIVER = Receiver("streaming", "127.0.0.1:5432", "replica_slot", 0.5)
STANDBY = PostgresFacts("standby", 1, "0/3000100", "0/3000100", 0, 0.7, None, True, 2, 200, 6, RECEIVER, (), ())
REPLICA = RedisReplica("redis-replica", "online", 990, 10, 0)
MASTER = RedisFacts("master", 1000, "", None, (REPLICA,), 1 << 20, 48 << 20, "allkeys-lru", 3, 7, 5, 2, 10, 90)
RECORD = ClusterRecord(
    "postgres-primary", "synchronous", 1, None, "postgres-primary", "it has everything", "2026-01-31T12:00:00Z"
)


def service(name: str, kind: Kind, role: str = "", health: str = "healthy", reason: str = "") -> ServiceStatus:
    state = RunState.STOPPED if health == "down" else RunState.RUNNING
    return ServiceStatus(name, kind, state, health, role, reason, "1", 7, None, ())


def primary(facts: PostgresFacts = PRIMARY, health: str = "healthy", name: str = "postgres-primary") -> ServiceStatus:
    return replace(service(name, Kind.POSTGRES, "primary", health), facts=facts)


def standby(facts: PostgresFacts = STANDBY, health: str = "healthy", reason: str = "") -> ServiceStatus:
    return replace(service("postgres-replica", Kind.POSTGRES, "standby", health, reason), facts=facts)


def down(name: str, kind: Kind = Kind.POSTGRES, reason: str = "stopped by hand") -> ServiceStatus:
    return service(name, kind, "", "down", reason)


def master(name: str = "redis-master") -> ServiceStatus:
    return replace(service(name, Kind.REDIS, "master"), facts=MASTER)


def replica(health: str = "healthy") -> ServiceStatus:
    facts = replace(MASTER, role="replica", offset=990, link="up", replicas=())
    return replace(service("redis-replica", Kind.REDIS, "replica", health), facts=facts, master="redis-master")


def sentinel(number: int, reason: str = "", named: str = "redis-master") -> ServiceStatus:
    seen = service(f"redis-sentinel-{number}", Kind.SENTINEL, "sentinel", "unhealthy" if reason else "healthy", reason)
    return replace(seen, master=named, facts=SentinelFacts(4, 2, 3, 1, "master", "", False, 60))
