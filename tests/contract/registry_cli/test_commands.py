"""`modules` and `versions` against the server's own application: streams, exit codes, envelopes, bytes."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spoke_server.errors import unavailable
from tests.contract.registry_cli.conftest import DEADLINE_S, Running, Tool

PROTO = b'syntax = "proto3";\npackage pay.v1;\nmessage Payment {}\n'


def lay_out(folder: Path, **contents: bytes) -> Path:
    for name, content in (contents or {"pay/v1/payment": PROTO}).items():
        place = folder / f"{name}.proto"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def data_of(done: "subprocess.CompletedProcess[bytes]") -> Any:
    envelope = json.loads(done.stdout)
    assert (done.returncode, done.stderr, envelope["status"], envelope["error"]) == (0, b"", "ok", None)
    return envelope["data"]


def error_of(done: "subprocess.CompletedProcess[bytes]") -> Any:
    envelope = json.loads(done.stdout)
    assert (done.stderr, envelope["status"], envelope["data"]) == (b"", "error", None)
    assert list(envelope) == ["schema_version", "command", "status", "data", "warnings", "error"]
    return envelope["error"]


def test_a_module_is_made_read_changed_and_deleted(tool: Tool) -> None:
    made = data_of(tool("modules", "create", "payments", "-d", "Payments", "--json"))
    assert made["name"] == "payments"
    assert made["versions"] == []
    assert made["latest"] is None
    assert data_of(tool("modules", "get", "payments", "--json"))["description"] == "Payments"
    assert data_of(tool("modules", "update", "payments", "-d", "More", "--json"))["description"] == "More"
    assert [each["name"] for each in data_of(tool("modules", "list", "--json"))] == ["payments"]
    deleted = data_of(tool("modules", "delete", "payments", "--yes", "--json"))
    assert deleted == {"module": "payments", "version": None, "permanent": False, "deleted": True}
    assert data_of(tool("modules", "list", "--json")) == []
    assert data_of(tool("modules", "list", "--deleted", "--json"))[0]["deleted_at"].startswith("2026-11-23T05:41:04")
    assert error_of(tool("modules", "get", "payments", "--json"))["code"] == "not_found"


def test_an_empty_list_is_an_envelope_of_exactly_these_bytes(tool: Tool) -> None:
    done = tool("modules", "list", "--json")
    expected = b'{"schema_version":1,"command":"modules list","status":"ok","data":[],"warnings":[],"error":null}\n'
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, b"")


def test_people_get_the_data_on_stdout_and_the_next_command_on_stderr(tool: Tool) -> None:
    done = tool("modules", "create", "payments", "-d", "Payments")
    assert done.stdout == b"payments\n"
    assert f"Next: spokectl versions push payments v1.0.0 ./protos --url {tool.url}\n".encode() in done.stderr
    listed = tool("modules", "list")
    assert listed.stderr == b""
    assert listed.stdout.splitlines()[0].split() == [b"NAME", b"VERSIONS", b"LATEST", b"UPDATED", b"DESCRIPTION"]
    assert listed.stdout.splitlines()[1].split() == [b"payments", b"0", b"-", b"2026-11-23", b"05:41:04", b"Payments"]
    quiet = tool("modules", "create", "payments", "-d", "Payments", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, b"payments\n", b"")


def test_a_pull_says_how_many_files_were_there_already(tool: Tool, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos", a=PROTO, b=PROTO)
    tool("versions", "push", "payments", "v1", "protos", "--create")
    tool("versions", "pull", "payments", "v1", "out")
    again = tool("versions", "pull", "payments", "v1", "out").stderr
    assert b"2 files" in again
    assert again.endswith(b", 2 were there already.\n")
    (tmp_path / "out" / "a.proto").unlink()
    assert tool("versions", "pull", "payments", "v1", "out").stderr.endswith(b", 1 was there already.\n")


def test_a_diff_is_a_patch_on_stdout_and_its_summary_on_stderr(tool: Tool, tmp_path: Path) -> None:
    lay_out(tmp_path / "old", a=b'syntax = "proto3";\n', gone=PROTO)
    lay_out(tmp_path / "new", a=b'syntax = "proto3";\nmessage A {}\n')
    tool("versions", "push", "common", "v1", "new", "--create")
    tool("versions", "push", "payments", "v1", "old", "--create")
    tool("versions", "push", "payments", "v2", "new", "--dependency", "common@v1")
    shown = tool("versions", "diff", "payments", "v1")
    patch = (
        b"diff --git a/a.proto b/a.proto\n--- a/a.proto\n+++ b/a.proto\n"
        b'@@ -1 +1,2 @@\n syntax = "proto3";\n+message A {}\n'
        b"diff --git a/gone.proto b/gone.proto\ndeleted file mode 100644\n--- a/gone.proto\n+++ /dev/null\n"
    )
    assert (shown.returncode, shown.stdout[: len(patch)]) == (0, patch)
    summary = b"payments: v1 -> v2: files: 1 changed, 1 removed; needs common@v1 now.\n"
    assert shown.stderr == summary
    data = data_of(tool("versions", "diff", "payments", "v2", "v1", "--json"))
    assert [data[name] for name in ("module", "old", "new", "dependencies_added", "dependencies_removed")] == [
        *("payments", "v2", "v1"),
        *([], ["common@v1"]),
    ]
    assert [(each["path"], each["change"]) for each in data["files"]] == [("a.proto", "changed"), ("gone.proto", "added")]
    same = tool("versions", "diff", "payments", "latest")
    assert (same.returncode, same.stdout, same.stderr) == (0, b"", b"payments: v2 and v2 are the same.\n")
    missing = tool("versions", "diff", "payments", "v9", "--json")
    assert (missing.returncode, error_of(missing)["code"]) == (4, "not_found")
    assert any("versions list payments" in action for action in error_of(missing)["actions"])


def test_pushed_files_come_back_byte_for_byte(tool: Tool, tmp_path: Path) -> None:
    odd = "\ufeff// größer\r\nmessage Ä {}\r".encode()
    lay_out(tmp_path / "protos", **{"a/b": PROTO, "a/odd": odd, "empty": b""})
    (tmp_path / "protos" / "README.md").write_text("not a schema")
    pushed = data_of(tool("versions", "push", "payments", "v1.0.0", "protos", "--create", "--json"))
    total = len(PROTO) + len(odd)
    assert pushed | {"created_at": ""} == {
        "module": "payments",
        "version": "v1.0.0",
        "files": 3,
        "bytes": total,
        "dependencies": [],
        "created_at": "",
        "module_created": True,
    }
    pulled = data_of(tool("versions", "pull", "payments", "latest", "--json"))
    assert pulled == {
        "module": "payments",
        "version": "v1.0.0",
        "folder": "payments",
        "files": ["a/b.proto", "a/odd.proto", "empty.proto"],
        "bytes": total,
        "written": 3,
    }
    for path in pulled["files"]:
        assert (tmp_path / "payments" / path).read_bytes() == (tmp_path / "protos" / path).read_bytes()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["payments", "protos"]
    assert tool("versions", "file", "payments", "v1.0.0", "a/odd.proto").stdout == odd
    assert data_of(tool("versions", "file", "payments", "latest", "a/b.proto", "--json"))["content"] == PROTO.decode()


def test_a_version_is_listed_shown_and_deleted(tool: Tool, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos")
    flags = ["--create", "--repository", "r", "--commit", "c", "--branch", "b", "--dependency", "common@v1.0.0"]
    for version in ("v1.9.0", "v1.10.0", "v1.2.0"):
        assert tool("versions", "push", "payments", version, "protos", *flags).returncode == 0
    listed = data_of(tool("versions", "list", "payments", "--json"))
    assert [each["version"] for each in listed] == ["v1.2.0", "v1.10.0", "v1.9.0"]
    assert data_of(tool("modules", "list", "--json"))[0]["latest"] == "v1.10.0"
    shown = data_of(tool("versions", "get", "payments", "latest", "--json"))
    assert shown["version"] == "v1.10.0"
    assert shown["dependencies"] == ["common@v1.0.0"]
    assert shown["source"] == {"repository": "r", "commit_sha": "c", "branch": "b"}
    assert shown["files"] == [{"path": "pay/v1/payment.proto", "bytes": len(PROTO)}]
    assert tool("versions", "get", "payments", "latest").stdout.splitlines()[-1].split() == [
        b"pay/v1/payment.proto",
        str(len(PROTO)).encode(),
        b"B",
    ]
    assert data_of(tool("versions", "delete", "payments", "v1.10.0", "--yes", "--json"))["version"] == "v1.10.0"
    assert error_of(tool("versions", "get", "payments", "v1.10.0", "--json"))["details"]["code"] == "version_not_found"


def test_pages_are_asked_for_one_by_one_or_all_at_once(tool: Tool) -> None:
    names = [f"m{number}" for number in range(5)]
    for name in names:
        assert tool("modules", "create", name).returncode == 0
    first = data_of(tool("modules", "list", "--limit", "2", "--json"))
    second = data_of(tool("modules", "list", "--limit", "3", "--cursor", first["next_cursor"], "--json"))
    assert [each["name"] for each in first["modules"] + second["modules"]] == names
    assert second["next_cursor"] is None
    for_people = tool("modules", "list", "--limit", "2")
    assert f"--limit 2 --cursor {first['next_cursor']}".encode() in for_people.stderr
    assert [each["name"] for each in data_of(tool("modules", "list", "--json"))] == names


def test_standard_input_is_a_file_or_a_description(tool: Tool) -> None:
    assert tool("modules", "create", "payments", "-d", "-", stdin=b"From a pipe\n").returncode == 0
    assert data_of(tool("modules", "get", "payments", "--json"))["description"] == "From a pipe"
    assert tool("versions", "push", "payments", "v1", "-", "--path", "x/pay.proto", stdin=PROTO).returncode == 0
    assert tool("versions", "file", "payments", "v1", "x/pay.proto").stdout == PROTO
    assert error_of(tool("versions", "push", "payments", "v2", "-", "--json", stdin=PROTO))["code"] == "path_needed"
    done = tool("versions", "push", "payments", "v2", "-", "--path", "x.proto", "--json", stdin=b"ok\n\xff")
    assert (error_of(done)["code"], error_of(done)["details"]) == (
        "not_utf8",
        {"path": "standard input", "byte": 3, "line": 2},
    )


@pytest.mark.parametrize(
    ("words", "code", "server_code", "exit_code"),
    [
        (["modules", "get", "nowhere"], "not_found", "module_not_found", 4),
        (["modules", "get", "../etc"], "bad_value", None, 2),
        (["modules", "get", "a b\n\x1b[31m"], "not_found", "module_not_found", 4),
        (["modules", "get", ".."], "bad_value", None, 2),
        (["modules", "get", ""], "bad_value", None, 2),
        (["modules", "create", "Payments"], "bad_name", None, 2),
        (["modules", "create", ""], "bad_name", None, 2),
        (["modules", "create", "there", "-d", "other"], "conflict", "module_exists", 1),
        (["modules", "update", "nowhere", "-d", "x"], "not_found", "module_not_found", 4),
        (["modules", "delete", "nowhere", "--yes"], "not_found", "module_not_found", 4),
        (["modules", "list", "--limit", "0"], "bad_value", None, 2),
        (["modules", "list", "--limit", "1001"], "bad_value", "invalid_parameter", 2),
        (["modules", "list", "--limit", "x"], "usage", None, 2),
        (["modules", "list", "--cursor", "nonsense"], "bad_value", "invalid_cursor", 2),
        (["modules", "list", "--timeout", "0"], "usage", None, 2),
        (["modules", "list", "--timeout", "1e999"], "usage", None, 2),
        (["modules", "list", "--url", "ftp://x"], "bad_url", None, 2),
        (["modules", "list", "--url", "http://user:secret@127.0.0.1"], "bad_url", None, 2),
        (["modules", "update", "there"], "usage", None, 2),
        (["versions", "push", "there", "latest", "protos"], "bad_name", None, 2),
        (["versions", "push", "there", "a/b", "protos"], "bad_name", None, 2),
        (["versions", "push", "nowhere", "v1", "protos"], "not_found", "module_not_found", 4),
        (["versions", "push", "there", "v1", "other"], "conflict", "version_exists", 1),
        (["versions", "push", "there", "v2", "missing"], "no_such_file", None, 2),
        (["versions", "push", "there", "v2", "hollow"], "no_files", None, 2),
        (["versions", "push", "there", "v2", "protos", "--dependency", "x"], "bad_value", "invalid_dependency", 2),
        (["versions", "push", "there", "v2", "protos", "--path", "x"], "bad_value", None, 2),
        (["versions", "pull", "there", "v9"], "not_found", "version_not_found", 4),
        (["versions", "pull", "there", "v1", "-"], "bad_value", None, 2),
        (["versions", "pull", "..", "v1"], "bad_name", None, 2),
        (["versions", "list", "nowhere"], "not_found", "module_not_found", 4),
        (["versions", "file", "there", "v1", "none.proto"], "not_found", "file_not_found", 4),
        (["versions", "file", "there", "v1", "../../x"], "bad_path", None, 2),
        (["versions", "delete", "there", "latest", "--yes"], "bad_name", None, 2),
        (["versions", "delete", "there", "v9", "--yes"], "not_found", "version_not_found", 4),
        (["modules", "delete", "there"], "confirmation_required", None, 3),
        (["versions", "delete", "there", "v1", "--permanent"], "confirmation_required", None, 3),
    ],
)
def test_a_refusal_has_its_code_its_exit_code_and_one_safe_line(
    tool: Tool, tmp_path: Path, words: list[str], code: str, server_code: str | None, exit_code: int
) -> None:
    lay_out(tmp_path / "protos")
    lay_out(tmp_path / "other", x=b"other")
    (tmp_path / "hollow").mkdir()
    assert tool("versions", "push", "there", "v1", "protos", "--create").returncode == 0
    for_programs = tool(*words, "--json")
    error = error_of(for_programs)
    assert (for_programs.returncode, error["code"], error["details"].get("code")) == (exit_code, code, server_code)
    for_people = tool(*words)
    assert (for_people.returncode, for_people.stdout) == (exit_code, b"")
    lines = for_people.stderr.decode().splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("  try: ") for line in lines[1:])
    assert for_people.stderr.decode().replace("\n", "").isprintable()
    assert "secret" not in for_people.stderr.decode()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["hollow", "other", "protos"]


def test_what_others_wrote_does_not_drive_the_terminal(tool: Tool, registry: Running) -> None:
    registry_text = "\x1b]0;owned\x07\u202egnp.exe\nsecond line"
    assert tool("modules", "create", "payments", "-d", registry_text).returncode == 0
    for words in (["modules", "list"], ["modules", "get", "payments"]):
        shown = tool(*words).stdout.decode()
        assert "\\x1b]0;owned\\x07" in shown
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert data_of(tool("modules", "get", "payments", "--json"))["description"] == registry_text


def test_a_pull_replaces_other_content_only_by_force(tool: Tool, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos", a=PROTO, b=b"b")
    assert tool("versions", "push", "payments", "v1", "protos", "--create").returncode == 0
    mine = lay_out(tmp_path / "mine", a=b"my own", b=b"b")
    refused = tool("versions", "pull", "payments", "v1", "mine", "--json")
    assert (refused.returncode, error_of(refused)["code"]) == (5, "files_differ")
    assert error_of(refused)["details"] == {"paths": ["a.proto"]}
    assert (mine / "a.proto").read_bytes() == b"my own"
    assert data_of(tool("versions", "pull", "payments", "v1", "mine", "--force", "--json"))["written"] == 1
    assert (mine / "a.proto").read_bytes() == PROTO
    assert data_of(tool("versions", "pull", "payments", "v1", "mine", "--json"))["written"] == 0
    assert sorted(each.name for each in mine.iterdir()) == ["a.proto", "b.proto"]


def test_a_single_file_that_is_no_proto_is_refused_unless_it_is_given_such_a_name(
    tool: Tool, registry: Running, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_bytes(PROTO)
    for words, stdin in ((["notes.txt"], b""), (["-", "--path", "payment"], PROTO), (["notes.txt", "--path", "a.pb"], b"")):
        done = tool("versions", "push", "payments", "v1", *words, "--create", "--json", stdin=stdin)
        assert (done.returncode, error_of(done)["code"]) == (2, "not_proto")
    assert registry.memory.requests == 0
    assert tool("versions", "push", "payments", "v1", "notes.txt", "--path", "a.proto", "--create").returncode == 0


def test_more_than_a_request_can_hold_is_said_before_anything_is_sent(tool: Tool, registry: Running, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos", a=b"/" * (6 << 20), b=b"/" * (5 << 20))
    lay_out(tmp_path / "escaped", a=b"\n" * (6 << 20))
    lay_out(tmp_path / "one", a=b"/" * (11 << 20))
    for folder, advice in (("protos", "push it as several"), ("escaped", "split the file"), ("one", "split the file")):
        done = tool("versions", "push", "payments", "v1", folder, "--create", "--json")
        assert error_of(done)["actions"][0].startswith(advice)
        assert "SPOKE_MAX_BODY_MIB" in error_of(done)["actions"][1]
        assert (done.returncode, error_of(done)["code"]) == (2, "too_large")
        assert error_of(done)["details"] == {"limit_bytes": 10 << 20}
    done = tool("versions", "push", "payments", "v1", "-", "--path", "x.proto", "--json", stdin=b"/" * (11 << 20))
    assert error_of(done)["actions"][0].startswith("split the file")
    assert (done.returncode, error_of(done)["code"]) == (2, "too_large")
    assert registry.memory.requests == 0


def test_hundreds_of_files_go_in_one_version(tool: Tool, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos", **{f"dir{number % 7}/file{number}": PROTO * 20 for number in range(400)})
    assert data_of(tool("versions", "push", "many", "v1", "protos", "--create", "--json"))["files"] == 400
    assert data_of(tool("versions", "pull", "many", "v1", "--json"))["written"] == 400


def test_pushing_again_is_no_error(tool: Tool, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos")
    first = data_of(tool("versions", "push", "payments", "v1", "protos", "--create", "--json"))
    again = data_of(tool("versions", "push", "payments", "v1", "protos", "--create", "--json"))
    assert (first["module_created"], again["module_created"]) == (True, False)
    assert first["created_at"] == again["created_at"]


def test_a_registry_that_is_not_there_is_named_with_what_to_type(tmp_path: Path) -> None:
    nowhere = Tool(tmp_path, "http://127.0.0.1:1")
    done = nowhere("modules", "list", "--json", "--timeout", "1s")
    assert (done.returncode, error_of(done)["code"]) == (4, "not_running")
    shown = nowhere("modules", "list", "--timeout", "1s")
    assert shown.stderr.decode().splitlines()[0].startswith("waiting for the registry, at most ")
    assert shown.stderr.decode().splitlines()[1:] == [
        "error: nothing answers at http://127.0.0.1:1: Connection refused",
        "  try: check the address (--url, SPOKECTL_URL)",
    ]
    of_stack = Tool(tmp_path, None)
    done = of_stack("modules", "list", "--stack", "second", "--json", "--timeout", "1s", SPOKE_NGINX_PORT="1")
    assert (done.returncode, error_of(done)["actions"]) == (4, ["spokectl up --stack second"])


def test_a_person_sees_that_the_tool_waits_and_a_program_only_the_answer(tool: Tool, registry: Running) -> None:
    registry.memory.failures = [unavailable("database_unavailable", "no primary yet")] * 2
    done = tool("modules", "create", "payments", "-v")
    assert (done.returncode, done.stdout) == (0, b"payments\n")
    lines = done.stderr.decode().splitlines()
    assert [line for line in lines if line.startswith("waiting")] == [
        line for line in lines if line.endswith(f"s more: {registry.url} answered 503: no primary yet")
    ]
    assert sum(line.startswith("POST /modules -> 503 in ") for line in lines) == 2
    registry.memory.failures = [unavailable("database_unavailable", "no primary yet")]
    assert data_of(tool("modules", "get", "payments", "--json"))["name"] == "payments"


def test_a_failure_that_lasts_is_the_registrys_own_message(tool: Tool, registry: Running) -> None:
    registry.memory.failures = [unavailable("database_unavailable", "no primary yet")] * 100
    done = tool("modules", "get", "payments", "--timeout", "2s", "--json")
    error = error_of(done)
    assert (done.returncode, error["code"], error["retryable"]) == (1, "registry_failed", True)
    assert error["message"] == f"{registry.url} answered 503: no primary yet"
    assert error["details"] == {"status": 503, "code": "database_unavailable", "request": "GET /modules/payments"}


def test_a_reader_that_goes_away_ends_it_without_a_traceback(tool: Tool, registry: Running, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos", a=b"/" * (4 << 20))
    assert tool("versions", "push", "payments", "v1", "protos", "--create").returncode == 0
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "spokectl", "versions", "file", "payments", "v1", "a.proto"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=DEADLINE_S,
        env=tool.environment(),
        cwd=tmp_path,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("words", "typed", "exit_code"),
    [
        (["modules", "delete", "payments"], "y", 0),
        (["modules", "delete", "payments"], "n", 3),
        (["modules", "delete", "payments"], "", 3),
        (["modules", "delete", "payments", "--permanent"], "y", 3),
        (["modules", "delete", "payments", "--permanent"], "payments", 0),
        (["versions", "delete", "payments", "v1"], "yes", 0),
        (["versions", "delete", "payments", "v1", "--permanent"], "v1", 3),
        (["versions", "delete", "payments", "v1", "--permanent"], "payments@v1", 0),
    ],
)
def test_on_a_terminal_a_delete_asks_first(
    tool: Tool, registry: Running, tmp_path: Path, words: list[str], typed: str, exit_code: int
) -> None:
    lay_out(tmp_path / "protos")
    assert tool("versions", "push", "payments", "v1", "protos", "--create").returncode == 0
    terminal, theirs = pty.openpty()
    os.write(terminal, typed.encode() + b"\n")
    done = subprocess.run(
        [sys.executable, "-m", "spokectl", *words],
        stdin=theirs,
        capture_output=True,
        timeout=DEADLINE_S,
        env=tool.environment(),
        cwd=tmp_path,
    )
    os.close(terminal)
    os.close(theirs)
    assert (done.returncode, done.stdout) == (exit_code, b"")
    assert done.stderr.startswith(b"Remove" if "--permanent" in words else b"Delete")
    versions = registry.memory.kept.get("payments")
    gone = versions is None or versions.deleted_at is not None or not versions.newest_first()
    assert gone == (exit_code == 0)


def test_a_bar_is_drawn_on_a_terminal_only_and_is_gone_at_the_end(tool: Tool, tmp_path: Path) -> None:
    lay_out(tmp_path / "protos", **{f"f{number}": b"/" * (100 << 10) for number in range(30)})

    def stderr_on_terminal(*words: str, **environment: str) -> bytes:
        terminal, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "spokectl", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=tool.environment(TERM="xterm", **environment),
            cwd=tmp_path,
        )
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(terminal, 65536):
                shown += chunk
        except OSError:  # the other side is closed: Linux says EIO
            pass
        os.close(terminal)
        assert process.wait(DEADLINE_S) == 0
        return shown

    drawn = stderr_on_terminal("versions", "push", "payments", "v1", "protos", "--create")
    assert b"payments@v1" in drawn
    assert b"\x1b[?25h" in drawn
    for silent in (["-q"], ["--json"]):
        assert stderr_on_terminal("versions", "push", "payments", "v1", "protos", *silent) == b""
    dumb = stderr_on_terminal("versions", "push", "payments", "v1", "protos", NO_COLOR="1")
    assert b"\x1b[3" not in dumb.replace(b"\x1b[?", b"")
