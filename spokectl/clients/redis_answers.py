"""What Redis and its Sentinels answer to INFO and SENTINEL MASTER, turned into facts. Pure."""

from collections.abc import Mapping, Sequence

from spokectl.facts import RedisFacts, RedisReplica, SentinelFacts


def fields(info: str) -> dict[str, str]:
    """The `name:value` lines of INFO."""
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


def version(info: Mapping[str, str]) -> str:
    # Valkey calls itself by the last Redis that it is compatible with as well.
    return f"{info['valkey_version']} (Valkey)" if "valkey_version" in info else info.get("redis_version", "")


def redis_facts(info: Mapping[str, str]) -> RedisFacts:
    """A field that this server's version does not have counts as 0."""
    replica = info.get("role") == "slave"
    offset = _number(info, "slave_repl_offset" if replica else "master_repl_offset")
    down_s = _number(info, "master_link_down_since_seconds", missing=-1)
    keyspace = info.get("db0", "")
    return RedisFacts(
        role="replica" if replica else info.get("role", ""),
        offset=offset,
        link=info.get("master_link_status", "") if replica else "",
        link_down_s=down_s if replica and down_s >= 0 else None,
        replicas=() if replica else _replicas(info, offset),
        memory_used_bytes=_number(info, "used_memory"),
        memory_limit_bytes=_number(info, "maxmemory") or None,
        memory_policy=info.get("maxmemory_policy", ""),
        evicted_keys=_number(info, "evicted_keys"),
        keys=_number(_pairs(keyspace), "keys"),
        hits=_number(info, "keyspace_hits"),
        misses=_number(info, "keyspace_misses"),
        clients=_number(info, "connected_clients"),
        uptime_s=_number(info, "uptime_in_seconds"),
    )


def _replicas(info: Mapping[str, str], offset: int) -> tuple[RedisReplica, ...]:
    found = []
    for number in range(_number(info, "connected_slaves")):
        each = _pairs(info.get(f"slave{number}", ""))
        at = _number(each, "offset")
        address = f"{each.get('ip', '')}:{each.get('port', '')}"
        found.append(RedisReplica(address, each.get("state", ""), at, max(0, offset - at), _number(each, "lag")))
    return tuple(found)


def sentinel_facts(master: Sequence[str], info: Mapping[str, str]) -> SentinelFacts:
    """`master`: the flat list of names and values that SENTINEL MASTER answers; empty when it knows no such master."""
    known = dict(zip(master[::2], master[1::2], strict=False))
    return SentinelFacts(
        epoch=_number(known, "config-epoch"),
        quorum=_number(known, "quorum"),
        sentinels=_number(known, "num-other-sentinels") + 1,
        replicas=_number(known, "num-slaves"),
        flags=known.get("flags", ""),
        failover=known.get("failover-state", ""),
        tilt=info.get("sentinel_tilt", "0") != "0",
        uptime_s=_number(info, "uptime_in_seconds"),
    )


def _pairs(text: str) -> dict[str, str]:
    """`ip=10.0.0.1,port=6379,…`"""
    return dict(pair.split("=", 1) for pair in text.split(",") if "=" in pair)


def _number(found: Mapping[str, str], name: str, missing: int = 0) -> int:
    try:
        return int(found.get(name, missing))
    except ValueError:
        return missing
