"""protoc's judgement of pushed files, in its own process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import metadata
from pathlib import Path

import pytest

from spoke_server.errors import ApiError
from spoke_server.protobuf.check import ProtobufChecker
from spoke_server.registry import File

pytestmark = pytest.mark.integration

HEAD = 'syntax = "proto3";\n'


def run(test: Callable[[ProtobufChecker], Awaitable[None]], idle_s: float = 30.0, roots: Sequence[Path] = ()) -> None:
    async def with_checker() -> None:
        checker = ProtobufChecker(idle_s, roots)
        try:
            await test(checker)
        finally:
            await checker.close()

    asyncio.run(with_checker())


def refusal(files: dict[str, str], dependencies: dict[str, str] | None = None) -> str | None:
    """Why files are refused, None when they are not."""
    found: list[ApiError] = []

    async def check(checker: ProtobufChecker) -> None:
        try:
            await checker.check(as_files(files), as_files(dependencies or {}), time.time() + 60)
        except ApiError as error:
            found.append(error)

    run(check)
    assert {(error.status, error.code) for error in found} <= {(400, "invalid_proto")}
    return found[0].message if found else None


def as_files(files: dict[str, str]) -> list[File]:
    return [File(*item) for item in files.items()]


def test_right_files_that_import_each_other_and_known_types_pass() -> None:
    known = 'import "google/protobuf/timestamp.proto";\nimport "a/b.proto";\n'
    files = {
        "a/b.proto": HEAD + "package a; message B {}",
        "c.proto": HEAD + known + "message C { a.B b = 1; google.protobuf.Timestamp t = 2; }",
        "README.md": "message {",
    }
    assert refusal(files) is None


def test_a_syntax_error_names_file_line_and_column() -> None:
    files = {"a.proto": HEAD, "b/c.proto": HEAD + "message C {\n  string a 1;\n}\n"}
    assert refusal(files) == "b/c.proto:3:12: Missing field number."


def test_errors_of_several_files_are_all_named_once() -> None:
    files = {"a.proto": HEAD + "oops", "b.proto": HEAD + 'import "a.proto"; message B { int32 x = ; }'}
    assert refusal(files) == (
        'a.proto:2:1: Expected top-level statement (e.g. "message").\nb.proto:2:41: Expected field number.'
    )


def test_an_import_nobody_has_is_no_reason_but_other_errors_in_that_file_are() -> None:
    missing = HEAD + 'import "elsewhere/x.proto";\n'
    uses = "message A { elsewhere.X x = 1; } service S { rpc M(elsewhere.Q) returns (A); }\n"
    options = "option (elsewhere.o) = true; message C { string f = 1 [(elsewhere.f) = {a: 1}]; }\n"
    assert (
        refusal({"a.proto": missing + uses + options, "b.proto": HEAD + 'import "a.proto"; message B { A a = 1; }'}) is None
    )
    assert refusal({"a.proto": missing + "message A { elsewhere.X x = 1; int32 y = 1; }"}) is not None
    assert refusal({"a.proto": missing + "message A { elsewhere.X x 1; }"}) == "a.proto:3:27: Missing field number."


def test_a_name_that_is_not_defined_is_a_reason_when_nothing_is_missing() -> None:
    assert refusal({"a.proto": HEAD + "message A { B b = 1; }"}) == 'a.proto:2:13: "B" is not defined.'


def test_declared_dependencies_are_found_and_their_own_faults_do_not_count() -> None:
    dependencies = {"x.proto": HEAD + 'import "gone.proto"; message X { Gone g = 1; }', "y.proto": HEAD + "message Y {}"}
    files = {"a.proto": HEAD + 'import "x.proto"; import "y.proto"; message A { X x = 1; Y y = 2; }'}
    assert refusal(files, dependencies) is None
    assert refusal({"a.proto": HEAD + 'import "y.proto"; message A { Z z = 1; }'}, dependencies) is not None


def test_vendored_copies_of_the_same_names_pass() -> None:
    files = {"a/t.proto": HEAD + "package t; message T {}", "vendor/a/t.proto": HEAD + "package t; message T {}"}
    assert refusal(files) is None


def protos(distribution: str, prefix: str) -> dict[str, str]:
    """The .proto files that an installed package carries, by their path below the prefix."""
    files = [file for file in metadata.files(distribution) or [] if file.suffix == ".proto"]
    return {str(file).removeprefix(prefix): file.read_text() for file in files}


def test_protocs_own_files_and_googles_common_ones_pass() -> None:
    own = protos("grpcio-tools", "grpc_tools/_proto/")
    assert "google/protobuf/descriptor.proto" in own
    assert refusal(own) is None
    assert refusal({name.removeprefix("google/protobuf/"): text for name, text in own.items()}) is None
    common = protos("googleapis-common-protos", "")
    assert len(common) > 50
    assert refusal(common) is None
    alone = "google/api/http.proto"
    assert refusal({alone: common[alone]}) is None


@pytest.mark.parametrize(
    "text",
    [
        "message A {" * 100_000,
        "option x = " + "{a:" * 100_000,
        "message A { string a = 1 [default = " + "(" * 100_000,
        "/*" + "x" * 1_000_000,
        "\x01\x02",
        'import "a.proto";',
        "message A { oneof x {} }",
        "enum E { A = 1; }",
    ],
)
def test_monstrous_files_are_refused(text: str) -> None:
    assert (refusal({"a.proto": HEAD + text}) or "").startswith("a.proto:")


def test_a_worker_that_dies_is_replaced_and_an_input_that_kills_it_twice_is_refused() -> None:
    async def test(checker: ProtobufChecker) -> None:
        await checker.check([File("a.proto", HEAD)], [], time.time() + 60)
        first = checker.worker_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await checker.check([File("a.proto", HEAD)], [], time.time() + 60)
        assert checker.worker_pid not in (None, first)

    run(test)


def test_a_worker_that_hangs_ends_with_the_deadline_and_leaves_no_files(tmp_path: Path) -> None:
    async def test(checker: ProtobufChecker) -> None:
        await checker.check([File("a.proto", HEAD)], [], time.time() + 60)
        assert checker.worker_pid is not None
        os.kill(checker.worker_pid, signal.SIGSTOP)
        with pytest.raises(ApiError) as refused:
            await checker.check([File("a.proto", HEAD)], [], time.time() + 0.3)
        assert (refused.value.status, refused.value.code) == (503, "check_timeout")
        assert list(tmp_path.iterdir()) == []
        await checker.check([File("a.proto", HEAD)], [], time.time() + 60)

    run(test, roots=[tmp_path])


def test_waiting_for_others_to_be_checked_ends_with_the_deadline_too() -> None:
    async def test(checker: ProtobufChecker) -> None:
        await checker.check([File("a.proto", HEAD)], [], time.time() + 60)
        assert checker.worker_pid is not None
        os.kill(checker.worker_pid, signal.SIGSTOP)
        first = asyncio.create_task(checker.check([File("a.proto", HEAD)], [], time.time() + 3))
        await asyncio.sleep(0)
        started_s = time.monotonic()
        with pytest.raises(ApiError) as refused:
            await checker.check([File("b.proto", HEAD)], [], time.time() + 0.3)
        assert refused.value.code == "check_timeout"
        assert time.monotonic() - started_s < 2
        with pytest.raises(ApiError):
            await first

    run(test)


def test_more_faults_than_can_be_told_are_a_refusal_and_do_not_answer_the_next_question() -> None:
    async def test(checker: ProtobufChecker) -> None:
        # Each fault is told with its file's path, so long paths make long words of short files.
        text, folder = HEAD + "x" + "}\n" * 500, "/".join("d" * 240 for _ in range(2))
        with pytest.raises(ApiError) as refused:
            await checker.check([File(f"{folder}/{number}.proto", text) for number in range(300)], [], time.time() + 120)
        assert (refused.value.status, refused.value.code) == (400, "invalid_proto")
        assert refused.value.message == "protoc finds more wrong with these files than can be told"
        await checker.check([File("a.proto", HEAD)], [], time.time() + 60)

    run(test)


def test_a_worker_without_work_ends() -> None:
    async def test(checker: ProtobufChecker) -> None:
        await checker.check([File("a.proto", HEAD)], [], time.time() + 60)
        deadline_s = time.monotonic() + 30
        while checker.worker_pid is not None and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
        assert checker.worker_pid is None

    run(test, idle_s=0.05)
