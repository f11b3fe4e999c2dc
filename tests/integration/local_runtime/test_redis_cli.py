"""The redis-cli of the local runtime against real servers."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spokectl.model import Kind
from spokectl.runtime.local import binaries
from spokectl.wait import Deadline, wait_until
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class Redis:
    """A server with the password `hush`, a Sentinel that watches it, and redis-cli."""

    def __init__(self, bin_folder: Path, path: str, port: int, sentinel_port: int) -> None:
        self.bin_folder = bin_folder
        self.path = path
        self.port = port
        self.sentinel_port = sentinel_port

    def cli(self, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin_folder / "redis-cli"), *words],
            env={"PATH": self.path} | environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=30,
        )

    def say(self, *words: str) -> str:
        return self.cli("-p", str(self.port), *words, REDISCLI_AUTH="hush").stdout


@contextmanager
def server(argv: list[str], folder: Path) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    folder = tmp_path_factory.mktemp("redis")
    found = binaries.find_binaries([Kind.REDIS, Kind.SENTINEL], {}, cache=None)
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    binaries.install(found, bin_folder)
    port, sentinel_port = free_ports(2)
    (folder / "sentinel.conf").write_text(
        f"port {sentinel_port}\nbind 127.0.0.1\nsentinel monitor spoke-redis 127.0.0.1 {port} 1\n"
        "sentinel auth-pass spoke-redis hush\n"
    )
    made = Redis(bin_folder, found.path(bin_folder), port, sentinel_port)
    serving = [str(bin_folder / "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "hush"]
    watching = [str(bin_folder / "redis-sentinel"), str(folder / "sentinel.conf")]
    with server(serving, folder), server(watching, folder):
        wait_until(
            lambda: None if made.say("PING") == "PONG\n" else "no answer", Deadline(30), what="an answer of the server"
        )
        wait_until(
            lambda: None if "name" in made.cli("-p", str(sentinel_port), "SENTINEL", "masters").stdout else "no answer",
            Deadline(30),
            what="an answer of the Sentinel",
        )
        yield made


def test_answers_are_printed_as_redis_cli_prints_them_to_a_pipe(redis: Redis) -> None:
    assert redis.say("SET", "version:a:v1", "line one\nline two") == "OK\n"
    assert redis.say("GET", "version:a:v1") == "line one\nline two\n"
    assert redis.say("KEYS", "version:*") == "version:a:v1\n"
    assert redis.say("GET", "missing") == "\n"
    assert redis.say("KEYS", "missing:*") == "\n"
    assert redis.say("EXISTS", "version:a:v1") == "1\n"
    assert redis.say("DEL", "version:a:v1") == "1\n"
    assert redis.say("ROLE").splitlines()[0] == "master"
    memory = redis.say("INFO", "memory").splitlines()
    assert memory[0] == "# Memory"
    assert any(line.startswith("used_memory:") for line in memory)


def test_an_error_is_an_answer(redis: Redis) -> None:
    refused = redis.cli("-p", str(redis.port), "PING")
    assert (refused.returncode, refused.stdout) == (0, "NOAUTH Authentication required.\n")
    assert redis.say("NONSENSE").startswith("ERR unknown command")
    wrong = redis.cli("-p", str(redis.port), "-a", "wrong", "--no-auth-warning", "PING")
    assert "WRONGPASS" in wrong.stderr


def test_the_password_may_be_an_option_and_a_database_chosen(redis: Redis) -> None:
    options = ("-h", "127.0.0.1", "-p", str(redis.port), "-a", "hush", "-n", "3")
    assert redis.cli(*options, "SET", "x", "1").stdout == "OK\n"
    assert redis.cli(*options, "DEL", "x").stdout == "1\n"
    assert redis.say("EXISTS", "x") == "0\n"


def test_sentinels_answer_in_pairs_of_lines(redis: Redis) -> None:
    lines = redis.cli("-p", str(redis.sentinel_port), "SENTINEL", "masters").stdout.splitlines()
    answer = dict(zip(lines[::2], lines[1::2], strict=True))
    assert answer["name"] == "spoke-redis"
    assert answer["port"] == str(redis.port)


def test_the_port_of_the_own_service_is_the_default(redis: Redis) -> None:
    assert redis.cli("PING", SPOKE_REDIS_PORT=str(redis.port), REDISCLI_AUTH="hush").stdout == "PONG\n"
    assert redis.cli("PING", SPOKE_SENTINEL_PORT=str(redis.sentinel_port)).stdout == "PONG\n"


def test_without_a_command_each_line_of_its_input_is_one(redis: Redis) -> None:
    lines = "SET said 'two words'\n\nNONSENSE\nGET said\nDEL said\nGET 'torn\nquit\nPING\n"
    done = redis.cli("-p", str(redis.port), stdin=lines, REDISCLI_AUTH="hush")
    answers = done.stdout.splitlines()
    assert (done.returncode, answers[0], answers[2:]) == (0, "OK", ["two words", "1"])
    assert answers[1].startswith("ERR unknown command")
    assert done.stderr == "Invalid argument(s): No closing quotation\n"
    assert redis.cli("-p", str(redis.port), stdin="PING", REDISCLI_AUTH="hush").stdout == "PONG\n"


def test_nobody_at_the_port_is_a_failure(redis: Redis) -> None:
    alone = redis.cli("-p", str(free_ports(1)[0]), "PING")
    assert alone.returncode == 1
    assert alone.stderr.startswith("Could not connect to Redis at 127.0.0.1:")


def test_a_server_that_does_not_answer_is_given_up_after_the_time_asked_for(redis: Redis) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        done = redis.cli("-p", str(silent.getsockname()[1]), "-t", "0.2", "PING")
    assert done.returncode == 1
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("words", [("--bogus", "PING"), ("-p",), ("-p", "x", "PING")])
def test_bad_usage_is_said(redis: Redis, words: tuple[str, ...]) -> None:
    done = redis.cli(*words)
    assert done.returncode == 2
    assert "usage: redis-cli" in done.stderr
