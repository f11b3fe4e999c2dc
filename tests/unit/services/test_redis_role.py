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
    fields = {"name": "spoke-redis", "ip": host, "port": port, "flags": flags, "config-epoch": epoch, "quorum": 2}
    return "".join(f"{key}\n{value}\n" for key, value in fields.items())


def judged(folder: Path, *answers: str) -> str:
    for number, text in enumerate(answers):
        (folder / f"{number}.answer").write_text(text)
    return in_shell('judge 2 "$1"', str(folder)).stdout.strip()


def test_nothing_is_concluded_from_silence(tmp_path: Path) -> None:
    assert judged(tmp_path) == ""


def test_one_answer_of_three_is_heard_but_not_yet_believed(tmp_path: Path) -> None:
    assert judged(tmp_path, answer(OTHER, 1)) == f"unsure {OTHER}"


def test_a_majority_that_agrees_is_believed(tmp_path: Path) -> None:
    assert judged(tmp_path, answer(OTHER, 1), answer(OTHER, 1)) == f"sure {OTHER}"


@pytest.mark.parametrize("stale_first", [True, False])
def test_the_highest_epoch_overrules_older_ones_in_any_order(stale_first: bool, tmp_path: Path) -> None:
    answers = [answer(OWN, 9), answer(OWN, 9), answer(OTHER, 10)]
    assert judged(tmp_path, *(answers if stale_first else answers[::-1])) == f"sure {OTHER}"


@pytest.mark.parametrize("flags", ["master,o_down,s_down", "master,failover_in_progress"])
def test_a_node_that_is_being_replaced_does_not_hurry_to_be_master(flags: str, tmp_path: Path) -> None:
    assert judged(tmp_path, answer(OWN, 1), answer(OWN, 1, flags)) == f"unsure {OWN}"


def test_a_dead_master_elsewhere_is_joined_all_the_same(tmp_path: Path) -> None:
    assert judged(tmp_path, answer(OTHER, 1, "master,o_down"), answer(OTHER, 1)) == f"sure {OTHER}"


def test_a_value_that_looks_like_a_field_name_misleads_nobody(tmp_path: Path) -> None:
    text = "name\nname\n" + answer(OTHER, 3).split("\n", 2)[2]
    assert judged(tmp_path, text, text) == f"sure {OTHER}"


def test_half_an_answer_counts_for_nothing(tmp_path: Path) -> None:
    assert judged(tmp_path, "name\nspoke-redis\nip\nredis-replica\n", answer(OTHER, 1)) == f"unsure {OTHER}"


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
