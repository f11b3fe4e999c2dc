"""Secrets at the command line: made, kept for their owner alone, never repeated, and asked for where others reach."""

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_cli import spokectl

pytestmark = pytest.mark.timeout(180)

NAMES = [
    "SPOKE_POSTGRES_OPERATOR_PASSWORD",
    "SPOKE_POSTGRES_PASSWORD",
    "SPOKE_POSTGRES_REPLICATION_PASSWORD",
    "SPOKE_REDIS_PASSWORD",
    "SPOKE_S3_SECRET_KEY",
]
# Where the servers' programs are not found nothing can start: what `up` settles before that can be seen all the same.
UP = ("up", "--runtime", "local", "--json")


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)["error"]
    return found


def everything_in(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file() and path.name != "events.jsonl"}


@pytest.mark.parametrize("bind", ["0.0.0.0", "[::]", "192.0.2.7"])
def test_an_up_for_others_with_well_known_passwords_is_refused_before_anything_changes(tmp_path: Path, bind: str) -> None:
    assert spokectl(tmp_path, "config", "set", f"SPOKE_BIND={bind}").returncode == 0
    before = everything_in(tmp_path / "state")
    done = spokectl(tmp_path, *UP, "--port-offset", "100", "--spokes", "4")
    error = error_of(done)
    assert (done.returncode, error["code"]) == (5, "well_known_passwords")
    assert error["details"]["settings"] == NAMES
    assert error["actions"][0] == "spokectl up --generate-secrets"
    assert everything_in(tmp_path / "state") == before
    assert not (tmp_path / "state" / "spoke" / "volumes").exists()


def test_the_address_of_the_shell_counts_too(tmp_path: Path) -> None:
    done = spokectl(tmp_path, *UP, SPOKE_BIND="0.0.0.0")
    assert (done.returncode, error_of(done)["code"]) == (5, "well_known_passwords")


def test_config_set_says_which_up_will_be_refused(tmp_path: Path) -> None:
    (warning,) = json.loads(spokectl(tmp_path, "config", "set", "SPOKE_BIND=0.0.0.0", "--json").stdout)["warnings"]
    assert "spokectl up --generate-secrets" in warning
    assert all(name in warning for name in NAMES)
    own = [f"{name}=not-a-known-one" for name in NAMES]
    warnings = json.loads(spokectl(tmp_path, "config", "set", *own, "--json").stdout)["warnings"]
    assert [each for each in warnings if "--generate-secrets" in each] == []


def test_secrets_that_would_lock_out_of_a_database_are_refused(tmp_path: Path) -> None:
    (tmp_path / "state" / "spoke" / "volumes" / "postgres-primary-data").mkdir(parents=True)
    done = spokectl(tmp_path, *UP, "--generate-secrets")
    error = error_of(done)
    assert (done.returncode, error["code"]) == (5, "secrets_in_use")
    assert error["details"]["settings"] == NAMES[:3]
    assert not (tmp_path / "state" / "spoke" / "stack.env").exists()


def test_secrets_of_an_up_that_was_refused_are_not_kept(tmp_path: Path) -> None:
    done = spokectl(tmp_path, *UP, "--generate-secrets", SPOKECTL_BINARIES="nowhere")
    assert (done.returncode, error_of(done)["code"]) == (5, "bad_setting")
    assert not (tmp_path / "state" / "spoke" / "stack.env").exists()


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["config", "set", "SPOKE_S3_SECRET_KEY=canary"], {}),
        (["config", "set", "SPOKE_REDIS_PASSWORD=canary\x1b[2J"], {}),
        (["config", "set", f"SPOKE_REDIS_PASSWORD={'canary' * 100}"], {}),
        (["up", "--runtime", "local"], {"SPOKE_POSTGRES_PASSWORD": "canary\x07"}),
        (["up", "--runtime", "local"], {"SPOKE_S3_SECRET_KEY": "canary"}),
    ],
)
def test_a_secret_that_is_refused_is_not_repeated(tmp_path: Path, words: list[str], environment: dict[str, str]) -> None:
    for more in ([], ["--json"], ["-v"]):
        done = spokectl(tmp_path, *words, *more, **environment)
        assert done.returncode == 2
        assert "SPOKE_" in done.stdout + done.stderr
        assert "canary" not in done.stdout + done.stderr


def test_a_line_of_the_settings_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    state = tmp_path / "state" / "spoke"
    state.mkdir(parents=True)
    (state / "stack.env").write_text("SPOKE_REDIS_PASSWORD: canary\n")
    for words in (["config", "list"], ["up"], ["endpoints", "--json"]):
        done = spokectl(tmp_path, *words)
        assert done.returncode == 2
        assert "line 1" in done.stdout + done.stderr
        assert "canary" not in done.stdout + done.stderr


def test_settings_that_others_could_read_are_closed_to_them(tmp_path: Path) -> None:
    spokectl(tmp_path, "config", "set", "SPOKE_LOG_LEVEL=debug")
    file = tmp_path / "state" / "spoke" / "stack.env"
    file.chmod(0o644)
    # A file that a killed process left half written, open to all, is not written into.
    left = file.with_name("stack.env.new")
    left.symlink_to(tmp_path / "elsewhere")
    assert spokectl(tmp_path, "config", "set", "SPOKE_REDIS_PASSWORD=-", stdin="canary-canary").returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not (tmp_path / "elsewhere").exists()
    file.chmod(0o644)
    assert spokectl(tmp_path, *UP, SPOKECTL_BINARIES="nowhere").returncode == 5
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_are_shown_only_when_asked_for(tmp_path: Path) -> None:
    for name in NAMES:
        spokectl(tmp_path, "config", "set", f"{name}=-", stdin=f"canary-{name}")
    for words in (["config", "list"], ["config", "list", "--json"], ["endpoints"], ["endpoints", "--env", "--json"]):
        done = spokectl(tmp_path, *words)
        assert done.returncode == 0
        assert "canary" not in done.stdout + done.stderr
    assert spokectl(tmp_path, "config", "list", "--show-secrets").stdout.count("canary-") == len(NAMES)
    assert spokectl(tmp_path, "config", "get", NAMES[0]).stdout == f"canary-{NAMES[0]}\n"
    assert (
        "export REDISCLI_AUTH=canary-SPOKE_REDIS_PASSWORD"
        in spokectl(tmp_path, "endpoints", "--env", "--show-secrets").stdout
    )
