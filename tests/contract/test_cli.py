"""The machine contract of the command line: streams, exit codes and the envelope, on a machine where nothing runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spokectl import __version__
from spokectl.cli.app import COMMANDS
from spokectl.journal import Journal
from spokectl.settings import StackRecord, StackState

ENVELOPE = ["schema_version", "command", "status", "data", "warnings", "error"]
ERROR = ["code", "message", "retryable", "details", "actions"]


def spokectl(tmp_path: Path, *words: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spokectl", *words],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=120,
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "SPOKECTL_STATE_DIR": str(tmp_path / "state"),
            "DOCKER_HOST": f"unix://{tmp_path}/no-engine",  # a stack of plain Compose would be found
            **environment,
        },
    )


def test_version_is_one_line(tmp_path: Path) -> None:
    for flag in ("--version", "-V"):
        done = spokectl(tmp_path, flag)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"spokectl {__version__}\n", "")


def test_help_lists_every_command_with_a_summary(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "--help")
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line.strip()}
    assert set(COMMANDS) <= listed


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(tmp_path: Path, command: str) -> None:
    done = spokectl(tmp_path, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: spokectl {command}")


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        (["stat"], "unknown_command", 2),
        (["config", "lst"], "unknown_command", 2),
        (["modules", "crate"], "unknown_command", 2),
        (["up", "--nope"], "usage", 2),
        (["up", "--timeout", "5 m"], "usage", 2),
        (["up", "--timeout", "-1"], "usage", 2),
        (["up", "--timeout", "nan"], "usage", 2),
        (["up", "--timeout", "0"], "usage", 2),
        (["up", "--spokes", "0"], "bad_count", 2),
        (["up", "--spokes", "x"], "usage", 2),
        (["scale", "0"], "bad_count", 2),
        (["scale", "17", "--dry-run"], "bad_count", 2),
        (["scale", "-1"], "usage", 2),
        (["scale", "many"], "usage", 2),
        (["scale"], "usage", 2),
        (["scale", "3"], "no_stack", 4),
        (["lb", "status"], "no_stack", 4),
        (["lb", "test"], "no_stack", 4),
        (["lb", "reload"], "no_stack", 4),
        (["lb", "relaod"], "unknown_command", 2),
        (["up", "--port-offset", "70000"], "bad_port_offset", 2),
        (["up", "--port-offset", "-1"], "bad_port_offset", 2),
        (["up", "--runtime", "podman"], "bad_runtime", 2),
        (["up", "--stack", "../x"], "bad_stack_name", 2),
        (["up", "--stack", ""], "bad_stack_name", 2),
        (["up", "--file", "nowhere.yml"], "no_stack_file", 2),
        (["status"], "no_stack", 4),
        (["ps"], "no_stack", 4),
        (["logs"], "no_stack", 4),
        (["events"], "no_stack", 4),
        (["start", "spoke-1"], "no_stack", 4),
        (["stop", "spoke-1"], "no_stack", 4),
        (["restart", "spoke-1"], "no_stack", 4),
        (["kill"], "usage", 2),
        (["postgres", "status"], "no_stack", 4),
        (["postgres", "lag"], "no_stack", 4),
        (["postgres", "slots"], "no_stack", 4),
        (["postgres", "connections"], "no_stack", 4),
        (["postgres", "statsu"], "unknown_command", 2),
        (["shell", "mysql"], "unknown_command", 2),
        (["redis", "status"], "no_stack", 4),
        (["redis", "info"], "no_stack", 4),
        (["redis", "reset-sentinels"], "no_stack", 4),
        (["redis", "sentinels"], "no_stack", 4),
        (["cache", "stats"], "no_stack", 4),
        (["cache", "keys"], "no_stack", 4),
        (["cache", "keys", "--limit", "0"], "usage", 2),
        (["cache", "bench"], "no_stack", 4),
        (["cache", "bench", "--reads", "501"], "bad_value", 2),
        (["cache", "bench", "--version", "v1"], "bad_value", 2),
        (["cache", "flush", "--yes"], "no_stack", 4),
        (["cache", "flsh"], "unknown_command", 2),
        (["metrics"], "no_stack", 4),
        (["metrics", "--match", "("], "bad_pattern", 2),
        (["metrics", "--interval", "1s"], "usage", 2),
        (["config", "get", "SPOKE_NOPE"], "unknown_setting", 4),
        (["config", "set", "SPOKE_NOPE=1"], "unknown_setting", 4),
        (["config", "set", "SPOKE_LOG_LEVEL"], "bad_setting", 2),
        (["config", "set", "SPOKE_NGINX_PORT=abc"], "bad_setting", 2),
        (["config", "set", "SPOKE_POSTGRES_MAX_CONNS=banana"], "bad_setting", 2),
        (["config", "set", "SPOKE_POSTGRES_MAX_CONNS="], "bad_setting", 2),
        (["config", "set", "SPOKE_RETRY_BUDGET=15"], "bad_setting", 2),
        (["config", "set", "SPOKE_POSTGRES_DEGRADE_AFTER=1s"], "bad_setting", 2),
        (["config", "set", "SPOKE_POSTGRES_DEGRADE_AFTER=99999999h"], "bad_setting", 2),
        (["config", "set", "SPOKE_REDIS_MAXMEMORY=much"], "bad_setting", 2),
        (["config", "set", "SPOKE_REDIS_MAXMEMORY_POLICY=lru"], "bad_setting", 2),
        (["config", "set", "SPOKE_CACHE_ENABLED=yes"], "bad_setting", 2),
        (["config", "set", "SPOKE_POSTGRES_SHARED_BUFFERS=much"], "bad_setting", 2),
        (["config", "set", "SPOKE_INSTANCE_MEMORY=512"], "bad_setting", 2),
        (["config", "set", "SPOKE_NGINX_CPUS=many"], "bad_setting", 2),
        (["config", "set", "SPOKE_MAX_BODY_MIB=9999"], "bad_setting", 2),
        (["config", "set", "SPOKE_SENTINEL_QUORUM=9"], "bad_setting", 2),
        (["config", "set", "SPOKE_NGINX_READ_TIMEOUT_S=0"], "bad_setting", 2),
        (["modules", "list", "--stack", "nosuch"], "no_stack", 4),
        (["modules", "delete", "a", "--yes", "--stack", "nosuch"], "no_stack", 4),
        (["versions", "list", "a", "--stack", "nosuch"], "no_stack", 4),
        (["endpoints", "--stack", "nosuch"], "no_stack", 4),
        (["endpoints", "--env", "--stack", "nosuch"], "no_stack", 4),
        (["config", "set", "SPOKE_NGINX_PORT=0"], "bad_stack_file", 2),
        (["config", "set", "SPOKE_NGINX_PORT=65536"], "bad_stack_file", 2),
        (["config", "set", "SPOKE_NGINX_PORT=8081"], "bad_stack_file", 2),
        (["down", "--volumes"], "confirmation_required", 3),
    ],
)
def test_an_error_has_its_code_on_stdout_with_json_and_one_clear_line_on_stderr_without(
    tmp_path: Path, words: list[str], code: str, exit_code: int
) -> None:
    done = spokectl(tmp_path, *words, "--json")
    assert done.returncode == exit_code, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert list(answer) == ENVELOPE
    assert (answer["status"], answer["data"], list(answer["error"])) == ("error", None, ERROR)
    assert answer["error"]["code"] == code
    assert done.stdout.count("\n") == 1

    plain = spokectl(tmp_path, *words)
    assert (plain.returncode, plain.stdout) == (exit_code, "")
    assert plain.stderr.startswith("error: ")
    assert "Traceback" not in plain.stderr


@pytest.mark.parametrize("noun", ["postgres", "s3"])
def test_a_shell_has_no_json(tmp_path: Path, noun: str) -> None:
    done = spokectl(tmp_path, "shell", noun, "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, "no_json")


def test_no_refused_command_leaves_anything_behind(tmp_path: Path) -> None:
    for words in (["up", "--timeout", "x"], ["up", "--file", "nowhere.yml"], ["status"], ["down"]):
        spokectl(tmp_path, *words)
    assert not (tmp_path / "state" / "spoke" / "stack.json").exists()


def test_down_of_a_stack_that_never_was_is_fine(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "down", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["data"] == {
        "stack": "spoke",
        "exists": False,
        "was_running": False,
        "volumes_deleted": False,
        "images_deleted": [],
    }


def test_settings_are_kept_shown_and_forgotten(tmp_path: Path) -> None:
    assert (
        spokectl(tmp_path, "config", "set", "SPOKE_LOG_LEVEL=debug", 'SPOKE_POSTGRES_PASSWORD=it\'s "a" $secret').returncode
        == 0
    )
    assert spokectl(tmp_path, "config", "get", "SPOKE_LOG_LEVEL").stdout == "debug\n"
    assert spokectl(tmp_path, "config", "get", "SPOKE_POSTGRES_PASSWORD").stdout == 'it\'s "a" $secret\n'
    shown = spokectl(tmp_path, "config", "list")
    assert "secret" not in shown.stdout
    settings = {s["name"]: s for s in json.loads(spokectl(tmp_path, "config", "list", "--json").stdout)["data"]}
    assert settings["SPOKE_LOG_LEVEL"] == {"name": "SPOKE_LOG_LEVEL", "value": "debug", "default": "info", "source": "file"}
    from_shell = spokectl(tmp_path, "config", "get", "SPOKE_LOG_LEVEL", SPOKE_LOG_LEVEL="warn")
    assert from_shell.stdout == "warn\n"
    gone = spokectl(tmp_path, "config", "unset", "SPOKE_LOG_LEVEL")
    assert (gone.returncode, gone.stderr) == (0, "It holds from the next: spokectl up\n")
    assert spokectl(tmp_path, "config", "get", "SPOKE_LOG_LEVEL").stdout == "info\n"


def test_what_was_not_set_can_be_unset_and_changes_nothing(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "config", "unset", "SPOKE_LOG_LEVEL")
    assert (done.returncode, done.stderr) == (0, "Nothing of it was set for this stack.\n")
    assert json.loads(spokectl(tmp_path, "config", "unset", "SPOKE_LOG_LEVEL", "--json").stdout)["data"]["unset"] == []


def test_a_stack_that_was_deleted_is_no_more_and_one_that_never_was_never_was(tmp_path: Path) -> None:
    state = StackState("spoke", tmp_path / "state")
    state.ensure()
    Journal(state.events_file).record("up", "refused")
    assert "error: the stack spoke was never brought up\n" in spokectl(tmp_path, "status").stderr
    with Journal(state.events_file).operation("down", volumes=True):
        pass
    gone = spokectl(tmp_path, "status")
    assert (gone.returncode, gone.stdout) == (4, "")
    assert gone.stderr.startswith("error: the stack spoke is no more: `down --volumes` has deleted it\n")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SPOKE_NGNX_PORT", ": did you mean SPOKE_NGINX_PORT?"),
        ("log_level", ": did you mean SPOKE_LOG_LEVEL?"),
        ("SPOKE_NOPE", ""),
    ],
)
def test_a_setting_that_does_not_exist_is_met_with_one_that_is_like_it(tmp_path: Path, name: str, hint: str) -> None:
    said = spokectl(tmp_path, "config", "get", name).stderr.splitlines()[0]
    assert said == f"error: the stack file has no setting {name!r}{hint}"


def test_a_setting_comes_from_standard_input_and_a_secret_among_the_arguments_is_warned_of(tmp_path: Path) -> None:
    name = "SPOKE_REDIS_PASSWORD"
    for given, kept in (("s3cret\n", "s3cret"), ("s3 cret", "s3 cret"), ("crlf\r\n", "crlf"), ("-\n", "-")):
        done = spokectl(tmp_path, "config", "set", f"{name}=-", "--json", stdin=given)
        assert (done.returncode, json.loads(done.stdout)["warnings"]) == (0, [])
        assert spokectl(tmp_path, "config", "get", name).stdout == f"{kept}\n"
    done = spokectl(tmp_path, "config", "set", f"{name}=s3cret", "SPOKE_LOG_LEVEL=debug")
    assert done.returncode == 0
    assert done.stderr.count("warning: ") == 1
    assert f"spokectl config set {name}=- < FILE" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "stdin", "code"),
    [
        (["SPOKE_REDIS_PASSWORD=-"], "", "no_input"),
        (["SPOKE_REDIS_PASSWORD=-"], "\n", "no_input"),
        (["SPOKE_REDIS_PASSWORD=-"], "one\ntwo\n", "bad_setting"),
        (["SPOKE_REDIS_PASSWORD=-", "SPOKE_S3_SECRET_KEY=-"], "x", "bad_setting"),
    ],
)
def test_standard_input_that_is_no_one_value_is_refused(tmp_path: Path, words: list[str], stdin: str, code: str) -> None:
    done = spokectl(tmp_path, "config", "set", *words, "--json", stdin=stdin)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, code)


@pytest.mark.parametrize("words", [["status"], ["up"], ["down"], ["config", "list"]])
def test_a_relative_state_folder_is_refused_by_every_command(tmp_path: Path, words: list[str]) -> None:
    done = spokectl(tmp_path, *words, "--json", SPOKECTL_STATE_DIR="state")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, "bad_state_dir")
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_breaks_the_stack_is_refused_and_not_kept(tmp_path: Path) -> None:
    assert spokectl(tmp_path, "config", "set", "SPOKE_LOG_LEVEL=debug", "SPOKE_NGINX_PORT=99999").returncode == 2
    assert spokectl(tmp_path, "config", "get", "SPOKE_LOG_LEVEL").stdout == "info\n"


def test_addresses_are_known_before_anything_runs(tmp_path: Path) -> None:
    points = json.loads(spokectl(tmp_path, "endpoints", "--json").stdout)["data"]
    assert {"name": "API", "service": "nginx", "url": "http://localhost:8080", "role": ""} in points
    anywhere = "postgresql://spoke@localhost:5432,localhost:5433/spoke?target_session_attrs=read-write"
    assert {"name": "PostgreSQL", "service": "", "url": anywhere, "role": "primary"} in points
    exported = spokectl(tmp_path, "endpoints", "--env").stdout
    assert "export SPOKECTL_URL=http://localhost:8080\n" in exported
    assert "localhost:5432,localhost:5433/spoke?target_session_attrs=read-write" in exported
    assert "password" not in exported.lower().replace("pgpassword", "")
    assert "export PGPASSWORD=spoke-password" in spokectl(tmp_path, "endpoints", "--env", "--show-secrets").stdout


@pytest.mark.parametrize("words", ["--version", "--help", "config list", "config list --json", "nope --json"])
@pytest.mark.parametrize(
    ("streams", "complaint"),
    [
        ("| true", ""),
        (">&-", ""),
        (">&- 2>&-", ""),
        ("<&- >&- 2>&-", ""),
        pytest.param(
            ">/dev/full",
            "error: the system refused: No space left on device\n",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full"),
        ),
    ],
)
def test_a_stream_that_takes_nothing_is_no_traceback(tmp_path: Path, words: str, streams: str, complaint: str) -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m spokectl {words} {streams}",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == ("", complaint)
    if complaint:
        assert done.returncode == 1


@pytest.mark.parametrize("words", ["--version", "--help", "config list", "config list --json", "nope --json", "nope 2>&1"])
def test_it_ends_as_any_program_when_nobody_reads(tmp_path: Path, words: str) -> None:
    # The reader has ended before anything is written: the shell, and spokectl in it, starts once the pipe has no end.
    reader, writer = os.pipe()
    os.close(reader)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SPOKECTL_STATE_DIR": str(tmp_path / "state")}
    command = f"exec '{sys.executable}' -m spokectl {words}"
    done = subprocess.run(
        command, shell=True, stdout=writer, stderr=subprocess.PIPE, timeout=60, cwd=tmp_path, env=environment, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("moment", ["os.open", "spokectl.cli.app.run"])
def test_ctrl_c_is_one_line_however_early_it_comes(tmp_path: Path, moment: str) -> None:
    # The imports themselves are the longest part of a short command.
    program = "\n".join(
        [
            f"import {moment.rpartition('.')[0]}, sys",
            "from unittest import mock",
            "from spokectl.__main__ import main",
            "sys.argv = ['spokectl', 'status']",
            f"with mock.patch('{moment}', side_effect=KeyboardInterrupt):",
            "    code = main()",
            "sys.exit(code)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


@pytest.mark.parametrize("words", [[], ["config"], ["modules"]])
def test_without_a_command_the_help_is_shown_as_it_is(tmp_path: Path, words: list[str]) -> None:
    done = spokectl(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: {' '.join(['spokectl', *words])} ")


def test_json_of_a_command_that_is_passed_on_is_not_ours(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "exec", "spoke-1", "--", "curl", "--json", "{}")
    assert (done.returncode, done.stdout) == (4, "")


def test_a_setting_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "config", "set", os.fsdecode(b"SPOKE_S3_BUCKET=\xff"))
    assert done.returncode == 2
    assert "SPOKE_S3_BUCKET (file) is not UTF-8" in done.stderr


def test_a_standby_may_be_waited_for_without_end(tmp_path: Path) -> None:
    """The guard's word for it was refused, because it is no duration."""
    assert spokectl(tmp_path, "config", "set", "SPOKE_POSTGRES_DEGRADE_AFTER=never").returncode == 0
    assert (
        json.loads(spokectl(tmp_path, "config", "get", "SPOKE_POSTGRES_DEGRADE_AFTER", "--json").stdout)["data"]["value"]
        == "never"
    )


def test_a_port_that_goes_back_to_its_default_beside_moved_ones_is_a_warning_with_the_way_back(tmp_path: Path) -> None:
    def warnings(*words: str) -> list[str]:
        done = spokectl(tmp_path, "config", *words, "--json")
        assert done.returncode == 0, done.stdout
        found: list[str] = json.loads(done.stdout)["warnings"]
        return found

    assert warnings("set", "SPOKE_NGINX_PORT=9080", "SPOKE_1_PORT=9081", "SPOKE_2_PORT=9082", "SPOKE_MINIO_PORT=9500") == []
    (warning,) = warnings("unset", "SPOKE_NGINX_PORT")
    assert warning.startswith("SPOKE_NGINX_PORT is 8080 from the next `up`, while other ports stay moved by 1000")
    assert warning.endswith(": spokectl config set SPOKE_NGINX_PORT=9080")
    assert warnings("unset", "SPOKE_MINIO_PORT") == []
    assert warnings("unset", "SPOKE_1_PORT", "SPOKE_2_PORT") == []


@pytest.mark.parametrize("name", ["SPOKE_POSTGRES_MAX_CONNS", "SPOKE_RETRY_BUDGET", "SPOKE_POSTGRES_DEGRADE_AFTER"])
def test_a_value_that_config_set_would_refuse_is_refused_by_up_wherever_it_comes_from(tmp_path: Path, name: str) -> None:
    """From the shell, or written into the env file, it was found out by the servers, after they had been stopped for it."""
    done = spokectl(tmp_path, "up", "--runtime", "local", "--json", **{name: "soon"})
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["actions"]) == (2, "bad_setting", [f"unset {name}"])
    assert "the shell: expected" in error["message"]
    assert not (tmp_path / "state" / "spoke" / "stack.json").exists()
    (tmp_path / "state" / "spoke" / "stack.env").write_text(f"{name}=soon\n")
    done = spokectl(tmp_path, "up", "--runtime", "local", "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"], error["actions"]) == (2, "bad_setting", [f"spokectl config unset {name}"])


def test_a_refused_up_puts_everything_back(tmp_path: Path) -> None:
    spokectl(tmp_path, "config", "set", "SPOKE_LOG_LEVEL=debug")
    state = tmp_path / "state" / "spoke"
    override = "services: {spoke-4: {scale: 0}}\n"
    (state / "override.yml").write_text(override)
    before = (state / "stack.env").read_text()
    done = spokectl(tmp_path, "up", "--spokes", "3", "--port-offset", "100", "--json", SPOKECTL_BINARIES="nowhere")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (5, "bad_setting")
    assert (state / "override.yml").read_text() == override
    assert (state / "stack.env").read_text() == before
    assert not (state / "stack.json").exists()


def test_commands_to_type_name_the_stack_that_was_meant(tmp_path: Path) -> None:
    for words in (["status"], ["start", "spoke-1"], ["exec", "spoke-1", "--", "true"]):
        assert "try: spokectl up --stack second\n" in spokectl(tmp_path, *words[:1], "--stack", "second", *words[1:]).stderr
    assert (
        "spokectl up --stack second\n"
        in spokectl(tmp_path, "config", "set", "--stack", "second", "SPOKE_LOG_LEVEL=debug").stderr
    )


def test_down_v_says_by_which_option_data_is_deleted(tmp_path: Path) -> None:
    assert "--volumes" in spokectl(tmp_path, "down", "-v").stderr
    assert "--volumes" not in spokectl(tmp_path, "down").stderr


def test_a_damaged_state_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "state" / "spoke").mkdir(parents=True)
    (tmp_path / "state" / "spoke" / "stack.json").write_text("{")
    done = spokectl(tmp_path, "status")
    assert done.returncode == 5
    assert "stack.json cannot be read" in done.stderr
    assert "rm " in done.stderr


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "1"}, {"LC_ALL": "C"}, {"LC_ALL": "tr_TR.UTF-8"}]
)
def test_output_in_a_pipe_does_not_depend_on_the_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    plain = spokectl(tmp_path, "config", "list").stdout
    assert spokectl(tmp_path, "config", "list", **environment).stdout == plain
    assert "\x1b" not in plain


def brought_up_with(tmp_path: Path, file: Path) -> None:
    state = StackState("spoke", tmp_path / "state")
    state.ensure()
    state.write_record(StackRecord("local", str(file), "2026-01-01T00:00:00+00:00"))


def test_a_named_stack_comes_before_an_address_left_in_the_shell(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "modules", "list", "--stack", "nosuch", "--json", SPOKECTL_URL="http://127.0.0.1:9")
    assert json.loads(done.stdout)["error"]["code"] == "no_stack"


def test_a_stack_file_of_ones_own_that_is_gone_is_not_replaced_in_silence(tmp_path: Path) -> None:
    brought_up_with(tmp_path, tmp_path / "mine.yml")
    done = spokectl(tmp_path, "up", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "stack_file_gone"
    assert "mine.yml" in json.loads(done.stdout)["error"]["message"]


def test_the_password_of_a_database_that_exists_is_not_changed_under_it(tmp_path: Path) -> None:
    assert spokectl(tmp_path, "config", "set", "SPOKE_POSTGRES_PASSWORD=before").returncode == 0
    brought_up_with(tmp_path, tmp_path / "stack" / "ha-stack.yml")
    done = spokectl(tmp_path, "config", "set", "SPOKE_POSTGRES_PASSWORD=after", "--json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["code"] == "password_in_use"
    assert spokectl(tmp_path, "config", "get", "SPOKE_POSTGRES_PASSWORD").stdout == "before\n"
