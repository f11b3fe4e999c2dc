"""What PostgreSQL answers to a look at it, turned into facts. Pure."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from spokectl.facts import Follower, PostgresFacts, Receiver, Sessions, Slot

LOOK = rb"""
WITH node AS (
  SELECT pg_is_in_recovery() AS standby, pg_last_wal_replay_lsn() AS replay_lsn,
         CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
              ELSE pg_current_wal_lsn() END AS lsn)
SELECT standby, current_setting('server_version'), json_build_object(
  'timeline', CASE WHEN standby THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver),
                                              (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                                              (SELECT timeline_id FROM pg_control_checkpoint()))
                   ELSE ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int END,
  'lsn', lsn,
  'replay_lsn', CASE WHEN standby THEN replay_lsn END,
  'replay_lag_bytes', CASE WHEN standby THEN pg_wal_lsn_diff(lsn, replay_lsn) END,
  'replay_paused', CASE WHEN standby THEN pg_is_wal_replay_paused() ELSE false END,
  'replay_age_s', CASE WHEN standby THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END,
  'free_mib', (SELECT (regexp_match(application_name, '^spoke_guard, (\d+) MiB free$'))[1]::bigint FROM pg_stat_activity
               WHERE usename = current_user AND application_name LIKE 'spoke_guard, %' LIMIT 1),
  'started_at', pg_postmaster_start_time(),
  'commits_wait', current_setting('synchronous_standby_names') <> '',
  'connections_used', (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
  'connections_max', current_setting('max_connections')::int,
  'connections_reserved', current_setting('superuser_reserved_connections')::int
                          + coalesce(current_setting('reserved_connections', true)::int, 0),
  'receiver', (SELECT json_build_object(
      'status', status, 'sender', sender_host || ':' || sender_port, 'slot', slot_name,
      'silent_s', extract(epoch FROM clock_timestamp() - last_msg_receipt_time)) FROM pg_stat_wal_receiver),
  'followers', (SELECT json_agg(json_build_object(
      'name', application_name, 'state', state, 'sync_state', sync_state, 'sent_lsn', sent_lsn,
      'write_lag_bytes', pg_wal_lsn_diff(lsn, write_lsn), 'flush_lag_bytes', pg_wal_lsn_diff(lsn, flush_lsn),
      'replay_lag_bytes', pg_wal_lsn_diff(lsn, replay_lsn), 'write_lag_s', extract(epoch FROM write_lag),
      'flush_lag_s', extract(epoch FROM flush_lag), 'replay_lag_s', extract(epoch FROM replay_lag),
      'silent_s', extract(epoch FROM clock_timestamp() - reply_time))) FROM pg_stat_replication),
  'slots', (SELECT json_agg(json_build_object(
      'name', slot_name, 'type', slot_type, 'active', active, 'restart_lsn', restart_lsn,
      'retained_bytes', pg_wal_lsn_diff(lsn, restart_lsn), 'wal_status', wal_status, 'safe_bytes', safe_wal_size))
    FROM pg_replication_slots))
FROM node
"""
"""One row: whether the node is in recovery, its version, and a JSON document with the rest.

The node's guard says in the name of its session how much room there is on the disk, which no server knows of itself.
"""

SESSIONS = b"""
SELECT usename, coalesce(datname, ''), application_name, coalesce(host(client_addr), 'local'), coalesce(state, ''), count(*),
       max(extract(epoch FROM clock_timestamp() - xact_start))
FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 1, 2, 3, 4, 5
"""


def sessions(rows: Iterable[Sequence[bytes]]) -> list[Sessions]:
    """The rows that `SESSIONS` gave."""
    found = []
    for *words, count, oldest in rows:
        user, database, application, client, state = (word.decode("utf-8", "replace") for word in words)
        age_s = max(0.0, float(oldest)) if oldest else None
        found.append(Sessions(user, database, application, client, state, int(count), age_s))
    return found


def facts(standby: bytes, document: bytes) -> PostgresFacts:
    """The facts in one row that `LOOK` gave. ValueError or KeyError when it is none."""
    found: dict[str, Any] = json.loads(document)
    receiver = found["receiver"]
    return PostgresFacts(
        role="standby" if standby == b"t" else "primary",
        timeline=found["timeline"],
        lsn=found["lsn"],
        replay_lsn=found["replay_lsn"],
        replay_lag_bytes=_positive(found["replay_lag_bytes"]),
        replay_age_s=_positive(found["replay_age_s"]),
        server_started_at=datetime.fromisoformat(found["started_at"]),
        commits_wait=found["commits_wait"],
        connections_used=found["connections_used"],
        connections_max=found["connections_max"],
        connections_reserved=found["connections_reserved"],
        receiver=_receiver(receiver) if receiver else None,
        followers=tuple(_follower(each) for each in found["followers"] or []),
        slots=tuple(Slot(**each) for each in found["slots"] or []),
        replay_paused=found["replay_paused"],
        free_bytes=None if found["free_mib"] is None else found["free_mib"] << 20,
    )


def _receiver(found: dict[str, Any]) -> Receiver:
    return Receiver(found["status"] or "", found["sender"] or "", found["slot"] or "", _positive(found["silent_s"]))


def _follower(found: dict[str, Any]) -> Follower:
    """A standby reports what it flushed a moment after this node has read its own position: no lag is below 0."""
    lags = {name: _positive(value) for name, value in found.items() if name.endswith(("_bytes", "_s"))}
    return Follower(**found | lags)


def _positive(value: Any) -> Any:
    return None if value is None else max(0, value)
