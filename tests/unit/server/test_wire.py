"""Bodies in and answers out."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoke_server import body, wire
from spoke_server.errors import ApiError, unavailable
from spoke_server.logs import JsonFormatter
from spoke_server.registry import Dependency, File, NewVersion, SourceInfo
from spoke_server.routes import ROUTES, resolve
from spoke_server.routes.answers import from_error
from spoke_server.storage.batch import Batch
from spoke_server.storage.reads import decode_name, decode_place, encode_cursor

MOMENT = dt.datetime(2026, 11, 23, 5, 41, 4, 445600, dt.UTC)


def test_moments_have_as_many_digits_as_say_something() -> None:
    assert wire.timestamp(MOMENT) == "2026-11-23T05:41:04.4456Z"
    assert wire.timestamp(MOMENT.replace(microsecond=0)) == "2026-11-23T05:41:04Z"
    east = dt.timezone(dt.timedelta(hours=2))
    assert wire.timestamp(MOMENT.astimezone(east)) == "2026-11-23T05:41:04.4456Z"


def test_a_version_has_the_keys_in_upstreams_order_and_no_empty_dependencies() -> None:
    new = NewVersion("m", "v1", (File("a/é.proto", "<&>\u2028"),), (), SourceInfo("r", "c", "b"))
    assert wire.version_body(new, MOMENT).decode() == (
        '{"module_name":"m","version":"v1","files":[{"path":"a/é.proto","content":"<&>\u2028"}],'
        '"created_at":"2026-11-23T05:41:04.4456Z","source_info":{"repository":"r","commit_sha":"c","branch":"b"}}'
    )
    needing = NewVersion("m", "v1", (), (Dependency("n", "v2"),))
    assert list(json.loads(wire.version_body(needing, MOMENT))) == [
        "module_name", "version", "files", "created_at", "dependencies", "source_info",
    ]  # fmt: skip


def test_pieces_of_ready_json_make_json() -> None:
    module = wire.module_body("m", "d", MOMENT, MOMENT)
    assert list(json.loads(wire.with_versions(module, b"{},{}"))) == [
        "name", "description", "created_at", "updated_at", "versions",
    ]  # fmt: skip
    assert json.loads(wire.with_deleted_at(module, MOMENT))["deleted_at"] == wire.timestamp(MOMENT)
    assert wire.with_deleted_at(module, None) is module


@given(st.binary(max_size=200))
def test_any_bytes_are_a_module_or_refused(data: bytes) -> None:
    assert refusal_status(lambda: body.parse_module(data)) in (None, 400)


def refusal_status(act: Callable[[], object]) -> int | None:
    """The status of the refusal, None without one; any other exception is a defect."""
    try:
        act()
    except ApiError as error:
        return error.status
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.sampled_from(
        ["version", "files", "path", "content", "dependencies", "source_info", "branch", "FILES"]), children, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_any_json_is_a_version_or_refused(value: object) -> None:
    assert refusal_status(lambda: body.parse_version("m", json.dumps(value).encode())) in (None, 400)


def test_an_error_has_two_keys_and_says_when_to_come_back() -> None:
    answer = from_error(unavailable("some_code", "say"))
    assert json.loads(bytes(answer.body)) == {"error": "say", "code": "some_code"}
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    plain = from_error(unavailable("some_code", "say"), plain=True)
    assert (bytes(plain.body), plain.headers["content-type"]) == (b"say\n", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/modules", "/modules"),
        ("/modules/m", "/modules/{module}"),
        ("/modules/m/versions", "/modules/{module}/versions"),
        ("/modules/m/versions/v1", "/modules/{module}/versions/{version}"),
        ("/modules/m/versions/v1/files/a/b/c.proto", "/modules/{module}/versions/{version}/files/{path}"),
    ],
)
def test_every_address_finds_its_route(path: str, template: str) -> None:
    found = resolve(path)
    assert found is not None
    assert found[0].template == template
    assert template.format(**found[1]) == path


def test_routes_are_known_by_their_templates() -> None:
    assert len({route.template for route in ROUTES}) == len(ROUTES) == 5


@pytest.mark.parametrize("path", ["", "/", "/modules/", "modules", "/modules/m/", "/modules/m/versions/",
                                  "/modules/m/versions/v/files", "/modules/m/versions/v/files/", "/modules/m/x",
                                  "/x"])  # fmt: skip
def test_other_addresses_find_none(path: str) -> None:
    assert resolve(path) is None


def test_cursors_read_back_and_others_are_refused() -> None:
    assert decode_name(encode_cursor("a.b")) == "a.b"
    assert decode_place(encode_cursor(MOMENT.isoformat(), 7)) == (MOMENT, 7)
    for bad in ("", "!", "WyJhIl0", encode_cursor("x", 1), encode_cursor(1, 2), encode_cursor(MOMENT.isoformat(), 1 << 70)):
        with pytest.raises(ApiError) as refusal:
            decode_place(bad)
        assert refusal.value.code == "invalid_cursor"


def test_lookups_that_come_during_a_query_share_the_next_one() -> None:
    async def scenario() -> None:
        queries: list[list[str]] = []
        release = asyncio.Event()

        async def load(keys: Sequence[str]) -> Mapping[str, int]:
            queries.append(list(keys))
            await release.wait()
            return {key: len(key) for key in keys if key != "none"}

        batch = Batch[str, int](load)
        first = asyncio.create_task(batch.get("a"))
        while not queries:
            await asyncio.sleep(0)
        later = [asyncio.create_task(batch.get(key)) for key in ("a", "bb", "bb", "none")]
        await asyncio.sleep(0)
        later[2].cancel()
        release.set()
        assert await first == 1
        assert [await later[0], await later[1], await later[3]] == [1, 2, None]
        assert queries == [["a"], ["a", "bb", "none"]]

    asyncio.run(scenario())


def test_a_query_that_fails_fails_those_who_wait_for_it_and_nobody_else() -> None:
    async def scenario() -> None:
        async def load(keys: Sequence[str]) -> Mapping[str, int]:
            if "bad" in keys:
                raise ValueError("bad")
            return dict.fromkeys(keys, 1)

        batch = Batch[str, int](load)
        with pytest.raises(ValueError, match="bad"):
            await batch.get("bad")
        assert await batch.get("good") == 1

    asyncio.run(scenario())


def test_log_lines_are_json_with_time_level_and_message() -> None:
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, "line %s", ("one\ntwo",), None)
    record.fields = {"more": 1}
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found = json.loads(text)
    assert (found["level"], found["msg"], found["more"]) == ("warning", "line one\ntwo", 1)
    assert found["time"].endswith("Z")
