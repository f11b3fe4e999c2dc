"""Redis's protocol, spoken with servers of the test's own: what is understood, and what is not trusted or waited for."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spokectl.clients.resp import Connection, RedisUnavailable


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives one answer to each question, then hangs up; and what it was asked."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener.accept()[0] as connection:
            for answer in answers:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        server.join()
        listener.close()


@pytest.mark.parametrize(
    ("answer", "understood"),
    [
        (b"+OK\r\n", b"OK"),
        (b":-7\r\n", -7),
        (b"$-1\r\n", None),
        (b"*-1\r\n", None),
        (b"$0\r\n\r\n", b""),
        (b"$6\r\na\r\nb\xff\xc3\r\n", b"a\r\nb\xff\xc3"),
        (b"*3\r\n$6\r\nmaster\r\n:3\r\n*1\r\n*2\r\n$1\r\na\r\n$-1\r\n", [b"master", 3, [[b"a", None]]]),
    ],
)
def test_every_kind_of_answer_is_given_as_it_came(answer: bytes, understood: object) -> None:
    with answering(answer) as (port, asked), Connection("127.0.0.1", port, None, timeout_s=30) as connection:
        assert connection.ask("GET", "ä b") == understood
    assert asked == [b"*2\r\n$3\r\nGET\r\n$4\r\n\xc3\xa4 b\r\n"]


def test_after_a_refusal_the_next_question_is_answered() -> None:
    with (
        answering(b"-ERR no such\r\n", b"+OK\r\n") as (port, _),
        Connection("127.0.0.1", port, None, timeout_s=30) as client,
    ):
        with pytest.raises(RedisUnavailable, match=r"\Ano such\Z"):
            client.ask("NO")
        assert client.ask("PING") == b"OK"


def test_a_password_is_given_first_and_its_refusal_is_the_reason() -> None:
    wrong = b"-WRONGPASS invalid username-password pair\r\n"
    with answering(wrong) as (port, asked), pytest.raises(RedisUnavailable, match="WRONGPASS"):
        Connection("127.0.0.1", port, "secret", timeout_s=30)
    assert asked == [b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "it closed the connection"),
        (b"$9\r\nhalf", "it closed the connection"),
        (b"*2\r\n:1\r\n", "it closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not Redis's protocol"),
        (b"$99999999999999\r\n", "not Redis's protocol"),
        (b"*1\r\n" * 5000, "not Redis's protocol"),
    ],
)
def test_what_is_no_whole_answer_is_said_in_one_line(answer: bytes, reason: str) -> None:
    with (
        answering(answer) as (port, _),
        Connection("127.0.0.1", port, None, timeout_s=30) as client,
        pytest.raises(RedisUnavailable, match=reason),
    ):
        client.ask("PING")


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Connection("127.0.0.1", listener.getsockname()[1], None, timeout_s=0.2) as client,
        pytest.raises(RedisUnavailable, match=r"no answer within 0\.2 s"),
    ):
        client.ask("PING")


def test_a_port_where_nobody_listens_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RedisUnavailable, match="refused"):
        Connection("127.0.0.1", port, None, timeout_s=30)
