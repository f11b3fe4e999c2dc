"""An answer is sent in one piece, so that no client sees half of one when its Spoke is killed."""

import asyncio
from typing import Any

from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from spoke_server.whole_answers import WholeAnswers


class Recorded(asyncio.Transport):
    """Keeps every write, and knows whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nor then."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


def answered(app: ASGIApp, request: bytes, *, turns: int = 20) -> Recorded:
    """What the protocol has sent some turns of the loop after the request."""

    async def ask() -> Recorded:
        transport = Recorded()
        config = Config(app, ws="none", lifespan="off", log_config=None)
        config.load()
        protocol = WholeAnswers(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(transport)
        protocol.data_received(request)
        for _ in range(turns):
            await asyncio.sleep(0)
        protocol.connection_lost(ConnectionResetError())
        return transport

    return asyncio.run(ask())


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"name": "common"})(scope, receive, send)


def test_head_and_body_are_one_write() -> None:
    sent = answered(whole, b"GET / HTTP/1.1\r\nhost: spoke\r\n\r\n")
    [write] = sent.writes
    assert write.startswith(b"HTTP/1.1 200 OK\r\n")
    assert write.endswith(b'\r\n\r\n{"name":"common"}')
    assert not sent.closed


def test_an_answer_that_ends_the_connection_is_sent_before_it_is_closed() -> None:
    sent = answered(whole, b"GET / HTTP/1.1\r\nhost: spoke\r\nconnection: close\r\n\r\n")
    [write] = sent.writes
    assert write.endswith(b'{"name":"common"}')
    assert sent.closed


def test_a_request_that_is_none_is_answered_too() -> None:
    sent = answered(whole, b"nonsense\r\n\r\n")
    assert b"".join(sent.writes).startswith(b"HTTP/1.1 400")
    assert sent.closed


def test_requests_sent_together_are_answered_in_their_order() -> None:
    sent = answered(whole, b"GET / HTTP/1.1\r\nhost: spoke\r\n\r\n" * 3, turns=60)
    assert b"".join(sent.writes).count(b'{"name":"common"}') == 3


def test_a_long_answer_is_not_kept_back_until_its_end() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def parts() -> Any:
            yield b"one"
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            yield b"two"

        await StreamingResponse(parts())(scope, receive, send)

    sent = answered(app, b"GET / HTTP/1.1\r\nhost: spoke\r\n\r\n", turns=60)
    assert len(sent.writes) > 1
    assert b"one" in b"".join(sent.writes[:-1])
