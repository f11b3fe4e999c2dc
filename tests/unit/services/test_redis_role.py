"""The start rule of a Redis node: whose word counts, and how far."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[3] / "stack" / "services"
OWN, OTHER = "redis-master:6379", "redis-replica:6379"


def in_shell(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of shell with the scripts' functions at hand."""
    sourced = f'. "{SERVICES}/entry.sh"; . "{SERVICES}/redis/role.sh"; {script}'
    return subprocess.run(
        ["/bin/sh", "-eu", "-c", sourced, "sh", *arguments],
        env={"PATH": "/usr/bin:/bin", "SPOKE_REDIS_ANNOUNCE": OWN, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )


def answer(master: str, epoch: int, flags: str = "master") -> str:
    """SENTINEL MASTER as redis-cli prints it: names and values take turns, a line each."""
    host, port = master.rsplit(":", 1)
    fields = {"name": "spoke-redis", "ip": host, "port": port, "flags": flags, "config-epoch": epoch}
    return "".join(f"{key}\n{value}\n" for key, value in {**fields, "failover-timeout": 10000}.items())


WAITING, SILENT = "waiting\n", "silent\n"
MASTER = "master\n2117\nredis-master\n6379\n2117\n"
REPLICA = "slave\nredis-master\n6379\nconnect\n-1\n"
CLOSED = "NOAUTH Authentication required.\n"
NAMED, OTHER_NAMED = answer(OWN, 4), answer(OTHER, 4)
MISSED, MOVING = answer(OWN, 4, "master,s_down"), answer(OWN, 4, "master,failover_in_progress")
OTHER_MISSED, OTHER_MOVING = (answer(OTHER, 4, f"master,{flag}") for flag in ("o_down", "failover_in_progress"))


def judged(folder: Path, node: str, *sentinels: str, before: str = OWN, start: str = "later") -> str:
    """`VERDICT PATIENCE MASTER` of a node whose only peer gave the answer `node`, and three Sentinels theirs."""
    (folder / f"node={OTHER}").write_text(node)
    for number, text in enumerate(sentinels, 1):
        (folder / f"sentinel=redis-sentinel-{number}:26379").write_text(text)
    done = in_shell('judge "$1" "$2" "$3"', before, start, str(folder), SPOKE_REDIS_FIRST_MASTER="redis-master:6379")
    assert done.stderr == ""
    return " ".join(done.stdout.split()[:3])


@pytest.mark.parametrize(
    ("node", "sentinels", "verdict"),
    [
        # Another node that says master is followed, whatever the Sentinels still believe.
        (MASTER, (NAMED, NAMED, NAMED), f"sure 0 {OTHER}"),
        (MASTER, (MISSED, MOVING, NAMED), f"sure 0 {OTHER}"),
        (MASTER, (SILENT, SILENT, SILENT), f"sure 0 {OTHER}"),
        (MASTER, (OTHER_NAMED, OTHER_NAMED, NAMED), f"sure 0 {OTHER}"),
        # But not before the Sentinels see that it lives, as they might promote this one.
        (MASTER, (OTHER_NAMED, OTHER_MISSED, OTHER_NAMED), f"wait 5 {OTHER}"),
        (MASTER, (OTHER_NAMED, OTHER_MOVING, OTHER_NAMED), f"wait 15 {OTHER}"),
        (MASTER, (WAITING, SILENT, OTHER_NAMED), f"wait 1 {OTHER}"),
        # The Sentinels name another node.
        (SILENT, (OTHER_NAMED, OTHER_NAMED, OTHER_NAMED), f"wait 5 {OTHER}"),
        (REPLICA, (OTHER_NAMED, OTHER_NAMED, OTHER_NAMED), f"wait 5 {OTHER}"),
        (SILENT, (OTHER_MISSED, OTHER_MISSED, SILENT), f"wait 5 {OTHER}"),
        # They name this one, and nobody else lives.
        (SILENT, (NAMED, NAMED, WAITING), f"sure 0 {OWN}"),
        (SILENT, (MISSED, MISSED, MISSED), f"sure 0 {OWN}"),
        (CLOSED, (NAMED, NAMED, NAMED), f"sure 0 {OWN}"),
        (WAITING, (NAMED, NAMED, NAMED), f"wait 3 {OWN}"),
        # A living replica may be promoted at any time: better at once.
        (REPLICA, (NAMED, NAMED, NAMED), f"failover 12 {OWN}"),
        (REPLICA, (MISSED, NAMED, SILENT), f"failover 12 {OWN}"),
        # A failover is under way.
        (REPLICA, (MOVING, NAMED, NAMED), f"wait 15 {OTHER}"),
        (SILENT, (NAMED, NAMED, MOVING), f"wait 15 {OWN}"),
        # Too few Sentinels for a failover.
        (SILENT, (NAMED, SILENT, SILENT), f"wait 3 {OWN}"),
        (REPLICA, (NAMED, SILENT, SILENT), f"wait 3 {OWN}"),
        # The highest epoch overrules older ones.
        (SILENT, (answer(OWN, 9), answer(OWN, 9), answer(OTHER, 10)), f"wait 5 {OTHER}"),
        (SILENT, (answer(OTHER, 9), answer(OWN, 10), answer(OTHER, 9)), f"sure 0 {OWN}"),
        # Nobody answers.
        (SILENT, (SILENT, SILENT, SILENT), f"wait 3 {OWN}"),
        (REPLICA, (WAITING, WAITING, WAITING), f"wait 3 {OWN}"),
        # What looks like a field's name is a value, and half an answer is none.
        (SILENT, (NAMED.replace("spoke-redis", "ip"), NAMED, WAITING), f"sure 0 {OWN}"),
        (SILENT, ("name\nspoke-redis\nip\nredis-replica\n", SILENT, SILENT), f"wait 3 {OWN}"),
    ],
)
def test_the_start_rule(node: str, sentinels: tuple[str, ...], verdict: str, tmp_path: Path) -> None:
    assert judged(tmp_path, node, *sentinels) == verdict


@pytest.mark.parametrize("label", [OWN, OTHER])
@pytest.mark.parametrize(
    ("node", "sentinels", "verdict"),
    [
        (MASTER, (SILENT, SILENT, SILENT), f"sure 0 {OTHER}"),
        (SILENT, (SILENT, OTHER_NAMED, SILENT), f"wait 10 {OTHER}"),
        (REPLICA, (NAMED, NAMED, NAMED), f"failover 12 {OWN}"),
    ],
)
def test_the_label_does_not_count_where_somebody_knows_better(
    node: str, sentinels: tuple[str, ...], verdict: str, label: str, tmp_path: Path
) -> None:
    assert judged(tmp_path, node, *sentinels, before=label, start="first") == verdict


@pytest.mark.parametrize(
    ("node", "sentinels", "label", "verdict"),
    [
        (SILENT, (SILENT, SILENT, SILENT), OWN, f"sure 3 {OWN}"),
        (SILENT, (SILENT, NAMED, SILENT), OWN, f"sure 0 {OWN}"),
        (WAITING, (SILENT, SILENT, SILENT), OWN, f"wait 3 {OWN}"),
        (SILENT, (SILENT, WAITING, SILENT), OWN, f"wait 3 {OWN}"),
        (SILENT, (SILENT, SILENT, SILENT), OTHER, f"wait 10 {OTHER}"),
    ],
)
def test_the_label_counts_where_everybody_has_been_asked_and_nobody_knows(
    node: str, sentinels: tuple[str, ...], label: str, verdict: str, tmp_path: Path
) -> None:
    assert judged(tmp_path, node, *sentinels, before=label, start="first") == verdict


def test_of_two_nodes_whose_files_both_say_master_the_labelled_one_is_earlier(tmp_path: Path) -> None:
    (tmp_path / f"node={OTHER}").write_text(SILENT)
    script = 'judge "$SPOKE_REDIS_ANNOUNCE" later "$1"'
    labelled = in_shell(script, str(tmp_path), SPOKE_REDIS_FIRST_MASTER=OWN).stdout.split()
    unlabelled = in_shell(script, str(tmp_path), SPOKE_REDIS_FIRST_MASTER=OTHER).stdout.split()
    assert labelled[:3] == ["wait", "3", OWN]
    assert unlabelled[:3] == ["wait", "5", OWN]


def test_the_sentinel_with_the_latest_word_is_asked_for_a_failover(tmp_path: Path) -> None:
    (tmp_path / f"node={OTHER}").write_text(REPLICA)
    for number, epoch in enumerate((3, 4, 4), 1):
        (tmp_path / f"sentinel=redis-sentinel-{number}:26379").write_text(answer(OWN, epoch))
    done = in_shell('judge "$SPOKE_REDIS_ANNOUNCE" later "$1"', str(tmp_path), SPOKE_REDIS_FIRST_MASTER=OWN)
    assert done.stdout.split()[3] == "redis-sentinel-2:26379"


@pytest.mark.parametrize(
    ("text", "master"),
    [
        ("port 6379\n", OWN),
        ("port 6379\nreplicaof redis-replica 6379\n", OTHER),
        ("# replicaof old 1\nreplicaof redis-replica 6379\nport 6379\n", OTHER),
    ],
)
def test_the_own_file_tells_whose_replica_it_was(text: str, master: str, tmp_path: Path) -> None:
    file = tmp_path / "redis.conf"
    file.write_text(text)
    assert in_shell('master_by_own_file "$1"', str(file)).stdout.strip() == master


@pytest.mark.parametrize("word", ["plain", "a b", 'a "b"', "back\\slash \\x41", "#$`'!*", "é漢", "\ttab"])
def test_a_quoted_word_is_the_word_again_when_redis_reads_it(word: str) -> None:
    quoted = in_shell('redis_quoted "$1"', word).stdout.removesuffix("\n")
    assert quoted[0] == quoted[-1] == '"'
    assert quoted[1:-1].replace('\\"', '"').replace("\\\\", "\\") == word


@pytest.mark.parametrize(
    ("address", "table", "name"),
    [
        ("127.0.0.1:7001", "a:1=127.0.0.1:7000 spoke-1:8080=127.0.0.1:7001", "spoke-1"),
        ("redis-master:6379", "", "redis-master"),
        ("127.0.0.1:7001", "", "127.0.0.1:7001"),
    ],
)
def test_an_address_has_the_name_of_its_service(address: str, table: str, name: str) -> None:
    assert in_shell('name_of "$1"', address, SPOKE_ADDRESSES=table).stdout.strip() == name


@pytest.mark.parametrize(
    "script", sorted(path for path in SERVICES.rglob("*") if path.name in {"run", "entry.sh", "role.sh"})
)
def test_every_script_is_valid_shell(script: Path) -> None:
    assert subprocess.run(["/bin/sh", "-n", script], timeout=30).returncode == 0
