"""PostgreSQL's primary runs out of disk: nothing acknowledged is lost, everybody says why, and the role can move."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.direct_writers import writing
from tests.e2e.conftest import Tool, eventually
from tests.e2e.postgres_pair import connect, observed, outside, postgres_pair, rows, wait_until_whole
from tests.e2e.test_moving_the_primary import answer_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own can be mounted by root alone"),
]

MUCH = "INSERT INTO written SELECT 'much ' || n || repeat('x', 2000) FROM generate_series(1, 50000) AS n"
PRIMARY, STANDBY = "postgres-primary", "postgres-replica"


@contextlib.contextmanager
def disk_of_its_own(tool: Tool, node: str, size: str) -> Iterator[Path]:
    """The node's data on a small disk while the stack is down; gives its folder."""
    data = tool.state / tool.stack / "volumes" / f"{node}-data"
    kept = data.rename(data.with_name("kept"))
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", data], check=True, timeout=60)
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", data], check=True, timeout=60)
        shutil.rmtree(kept)
        yield data
    finally:
        subprocess.run(["umount", "--lazy", data], check=True, timeout=60)


def fill(folder: Path) -> Path:
    """Takes all the room that is left; gives the file that has it."""
    taken = folder / "taken"
    with taken.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return taken


def test_a_primary_without_room_fails_over_without_loss_and_joins_again_when_there_is_some() -> None:
    with postgres_pair("local", "full") as tool:
        tool.ok("down")
        with disk_of_its_own(tool, PRIMARY, "256m") as folder:
            tool.up("--file", str(tool.state / "postgres.yml"))
            with writing(outside(tool, PRIMARY), outside(tool, STANDBY)) as writers:
                eventually(lambda: writers.count(PRIMARY) > 50, "writes go through")
                taken = fill(folder)
                with connect(tool, PRIMARY) as connection, pytest.raises(psycopg.errors.DiskFull, match="No space left"):
                    connection.execute(MUCH)
                eventually(lambda: "its disk is full" in tool.run("status").stdout.decode(), "status says why")

                refused = tool.run("switchover", "postgres", "--json")
                error = answer_of(refused)["error"]
                assert (refused.returncode, error["code"]) == (5, "precondition_failed"), error
                assert f"none left for {PRIMARY}" in error["message"]
                assert error["actions"] == [f"spokectl kill {PRIMARY} --stack {tool.stack}"]
                assert observed(tool)[1]["primary"] == PRIMARY

                tool.ok("kill", PRIMARY)
                moved = tool.run("failover", "postgres", "--json")
                # The old node may have the room for what it needs to follow, or not: then it is said.
                assert moved.returncode in {0, 12}, moved.stdout
                if moved.returncode == 12:
                    error = answer_of(moved)["error"]
                    assert "its disk is full" in error["message"]
                    # That is why it ended, and not the time that one waits for a node which may come.
                    assert error["details"]["free_bytes"] < 32 << 20
                    assert error["actions"][0] == f"spokectl start {PRIMARY} --stack {tool.stack}"
                assert observed(tool)[1]["primary"] == STANDBY
                count = writers.count(STANDBY)
                eventually(lambda: writers.count(STANDBY) > count + 20, "writes go through again")

                taken.unlink()
                tool.ok("start", PRIMARY)
                wait_until_whole(tool, STANDBY)
            assert set(writers.acknowledged) <= rows(tool, STANDBY)
            tool.ok("down")
