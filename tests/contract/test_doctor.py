"""`doctor` and `report` where nothing runs, and where all is broken: they never end with a traceback."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from spokectl.operations.context import exclusive
from spokectl.settings import StackRecord, StackState
from spokectl.stackfile import default_stack_file
from tests.contract.test_cli import ENVELOPE, spokectl

VERDICTS = {"ok", "warning", "problem", "not_checked"}


def examined(tmp_path: Path, *words: str, **environment: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """The exit code, the envelope, and every check by its name."""
    done = spokectl(tmp_path, "doctor", "--json", *words, **environment)
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert list(answer) == ENVELOPE
    checks = {each["check"]: each for each in answer["data"]["checks"]}
    assert {each["verdict"] for each in checks.values()} <= VERDICTS
    assert not [finding for each in checks.values() for finding in each["findings"] if "itself failed" in finding["found"]]
    return done.returncode, answer, checks


def damaged(tmp_path: Path, name: str, text: str) -> None:
    state = StackState("spoke", tmp_path / "state")
    state.ensure()
    state.write_record(StackRecord("local", str(default_stack_file()), "2026-01-31T12:00:00+00:00"))
    path = state.folder / name
    path.write_text(text)
    path.chmod(0o600)


def test_without_a_stack_the_machine_is_checked_and_nothing_is_made(tmp_path: Path) -> None:
    _, answer, checks = examined(tmp_path)
    assert checks["docker-engine"]["verdict"] == "ok"  # not needed where no stack has chosen it
    assert checks["stack-file"]["verdict"] == "ok"
    assert {each["verdict"] for each in checks.values() if each["group"] == "servers"} == {"not_checked"}
    assert list(answer["data"]) == ["stack", "verdict", "checks", "fixed"]
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("name", "text", "check"),
    [
        ("stack.json", "no JSON", "state-folder"),
        ("stack.json", '{"version": 99}', "state-folder"),
        ("stack.env", "no setting", "state-folder"),
        ("stack.env", "SPOKE_POSTGRES_MAX_CONNECTIONS=20", "connections"),
        ("stack.env", "SPOKE_LOG_LEVEL=loud", "settings"),
        ("stack.env", "SPOKE_BIND=0.0.0.0", "passwords"),
        ("stack.env", "SPOKE_NGINX_PORT=99999", "stack-file"),
        ("override.yml", "services: [", "stack-file"),
        ("underway.jsonl", '{"operation": "switchover postgres", "facts": {}}\n', "leftovers"),
        ("underway.jsonl", '{"nothing": 1}\n', "leftovers"),
        ("faults.jsonl", '{"number": 1, "sentence": "nginx is paused", "undo": {}}\n', "leftovers"),
    ],
)
def test_what_is_damaged_is_a_problem_with_what_mends_it(tmp_path: Path, name: str, text: str, check: str) -> None:
    damaged(tmp_path, name, text)
    code, answer, checks = examined(tmp_path)
    assert (code, answer["status"], answer["error"]["code"]) == (10, "partial", "problems_found")
    assert checks[check]["verdict"] == "problem"
    assert answer["error"]["details"][check]
    assert all(finding["actions"] for finding in checks[check]["findings"] if finding["verdict"] == "problem")
    plain = spokectl(tmp_path, "doctor")
    assert plain.returncode == 10
    assert "Traceback" not in plain.stdout + plain.stderr
    assert f"✗ problem      {check}" in plain.stdout
    assert plain.stderr.startswith("error: ")


def test_a_password_that_everybody_knows_is_judged_as_up_does(tmp_path: Path) -> None:
    """Both ways they had differed: NGINX alone may be open to others, and a bad password of one's own is a bad one."""
    damaged(tmp_path, "stack.env", "")
    (tmp_path / "state" / "spoke" / "override.yml").write_text("services: {nginx: {ports: ['0.0.0.0:18099:8080']}}")
    assert examined(tmp_path)[2]["passwords"]["verdict"] == "ok"

    names = [f"SPOKE_{each}" for each in ("POSTGRES_REPLICATION_PASSWORD", "POSTGRES_OPERATOR_PASSWORD", "REDIS_PASSWORD")]
    own = dict.fromkeys([*names, "SPOKE_S3_SECRET_KEY"], "Nobody-else-has-this")
    settings = {**own, "SPOKE_POSTGRES_PASSWORD": "changeme", "SPOKE_BIND": "0.0.0.0"}
    damaged(tmp_path, "stack.env", "".join(f"{name}={value}\n" for name, value in settings.items()))
    done = spokectl(tmp_path, "up", "--json")
    refused = json.loads(done.stdout)["error"]
    assert refused["code"] == "well_known_passwords"
    [finding] = examined(tmp_path)[2]["passwords"]["findings"]
    assert (finding["verdict"], finding["found"], finding["actions"]) == ("problem", refused["message"], refused["actions"])
    assert "spokectl up --generate-secrets" in finding["actions"]


def test_a_state_folder_that_is_none_is_a_problem(tmp_path: Path) -> None:
    code, _, checks = examined(tmp_path, SPOKECTL_STATE_DIR="relative")
    assert (code, checks["state-folder"]["verdict"]) == (10, "problem")
    (tmp_path / "state").write_text("a file")
    code, _, checks = examined(tmp_path)
    assert (code, checks["state-folder"]["verdict"]) == (10, "problem")


def test_a_stack_in_containers_without_an_engine_is_one_problem(tmp_path: Path) -> None:
    state = StackState("spoke", tmp_path / "state")
    state.ensure()
    state.write_record(StackRecord("docker", str(default_stack_file()), "2026-01-31T12:00:00+00:00"))
    code, answer, checks = examined(tmp_path)
    assert code == 10
    assert list(answer["error"]["details"]) == ["docker-engine"]
    assert checks["services"]["verdict"] == "not_checked"


def test_fix_mends_what_is_safe_and_says_what_it_did(tmp_path: Path) -> None:
    damaged(tmp_path, "stack.env", "SPOKE_LOG_LEVEL=debug")
    folder = tmp_path / "state" / "spoke"
    (folder / "events.jsonl").touch()
    (folder / "events.jsonl").chmod(0o644)
    (folder / "stack.env.new").touch(mode=0o600)
    assert examined(tmp_path)[2]["state-folder"]["verdict"] == "warning"
    _, answer, checks = examined(tmp_path, "--fix")
    assert len(answer["data"]["fixed"]) == 2
    assert (checks["state-folder"]["verdict"], checks["stale-files"]["verdict"]) == ("ok", "ok")
    assert ((folder / "events.jsonl").stat().st_mode & 0o777, (folder / "stack.env.new").exists()) == (0o600, False)
    assert examined(tmp_path, "--fix")[1]["data"]["fixed"] == []
    assert (folder / "stack.env").read_text() == "SPOKE_LOG_LEVEL=debug"


def test_fix_is_refused_while_another_command_works_on_the_stack_and_says_what_it_found(tmp_path: Path) -> None:
    """It had ended with 0 and a warning."""
    damaged(tmp_path, "stack.env", "")
    state = StackState("spoke", tmp_path / "state")
    state.events_file.touch()
    state.events_file.chmod(0o644)
    with exclusive(state, "up"):
        code, answer, checks = examined(tmp_path, "--fix")
    assert (code, answer["status"], answer["error"]["code"], answer["error"]["retryable"]) == (5, "error", "locked", True)
    assert (checks["state-folder"]["verdict"], answer["data"]["fixed"]) == ("warning", [])
    assert state.events_file.stat().st_mode & 0o777 == 0o644
    assert examined(tmp_path, "--fix")[1]["data"]["fixed"]


def unpacked(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        members = [(member, opened.extractfile(member)) for member in opened.getmembers()]
        return {member.name.partition("/")[2]: file.read().decode() for member, file in members if file is not None}


def test_a_report_of_nothing_says_what_it_lacks(tmp_path: Path) -> None:
    done = spokectl(tmp_path, "report", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)["data"]
    assert list(data) == ["file", "size_bytes", "secrets_replaced", "parts", "missing"]
    archive = Path(data["file"])
    assert (archive.parent, archive.stat().st_mode & 0o777, archive.stat().st_size) == (tmp_path, 0o600, data["size_bytes"])
    files = unpacked(archive)
    assert set(files) == {part["name"] for part in data["parts"]} >= {"versions.json", "doctor.json", "errors.txt"}
    assert {part["name"]: part["size_bytes"] for part in data["parts"]} == {n: len(t.encode()) for n, t in files.items()}
    assert files["errors.txt"].splitlines() == data["missing"]
    assert any(line.startswith("status.json: the stack spoke was never brought up") for line in data["missing"])
    assert not (tmp_path / "state").exists()


def test_a_report_takes_no_others_place(tmp_path: Path) -> None:
    there = tmp_path / "there.tar.gz"
    there.write_text("mine")
    done = spokectl(tmp_path, "report", "-o", str(there), "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (5, "file_exists")
    assert there.read_text() == "mine"
    done = spokectl(tmp_path, "report", "-o", str(tmp_path / "nowhere" / "r.tar.gz"), "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (5, "cannot_write")


SECRETS = ("SPOKE_POSTGRES_PASSWORD", "SPOKE_REDIS_PASSWORD", "SPOKE_S3_SECRET_KEY", "SPOKE_POSTGRES_OPERATOR_PASSWORD")


@pytest.mark.parametrize("broken", [False, True])
def test_a_report_has_no_secret_even_of_a_stack_file_that_cannot_be_read(tmp_path: Path, broken: bool) -> None:
    canaries = {name: f"canary-{number}-$\"'é" for number, name in enumerate(SECRETS)}
    own = "SPOKE_POSTGRES_REPLICATION_PASSWORD"
    for name, value in canaries.items():
        assert spokectl(tmp_path, "config", "set", f"{name}=-", stdin=value).returncode == 0
    folder = tmp_path / "state" / "spoke"
    if broken:
        (folder / "override.yml").write_text("services: [\n  X_PASSWORD: canary-in-yaml\n")
    (folder / "events.jsonl").write_text(json.dumps({"time": "2026", "message": f"said {canaries[SECRETS[0]]}"}) + "\n")
    done = spokectl(tmp_path, "report", "-o", "r.tar.gz", **{own: "canary-of-the-shell"})
    assert done.returncode == 0, done.stderr
    files = unpacked(tmp_path / "r.tar.gz")
    for name, text in files.items():
        assert "canary" not in text, name
    assert "********" in files["state/events.jsonl"]
    assert ("stack/override.yml" in files) == broken
    assert "canary" not in done.stdout + done.stderr
    assert "SECRETS REPLACED" in done.stdout
    if not broken:
        assert "********" in files["settings.json"]


def test_a_report_names_the_file_that_only_its_owner_may_read_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert spokectl(tmp_path, "report", "-o", "r.tar.gz").returncode == 0
    finally:
        os.umask(before)
    assert (tmp_path / "r.tar.gz").stat().st_mode & 0o777 == 0o600
