"""A status that is watched: what is drawn, what counts as a change, and what does not end it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, NotFound, UsageError
from spokectl.model import Kind
from spokectl.operations.endpoints import Endpoint
from spokectl.operations.health import ServiceStatus, judged
from spokectl.operations.observe import Look, StatusData, watch
from spokectl.operations.outlook import outlook
from spokectl.output import watch as drawing
from spokectl.result import Result, dumps, envelope
from spokectl.settings import StackRecord, StackState
from tests.unit.statuses import PRIMARY, RECORD, down, primary, service, standby

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
WELL = [primary(), standby(), *(service(f"spoke-{number}", Kind.SPOKE, "instance") for number in range(20))]
GONE = Look(NOON, Result(None, exit_code=ExitCode.NOT_FOUND, error=NotFound("not_running", "the stack x is not running")))


def look(services: list[ServiceStatus]) -> Look:
    return Look(
        NOON, judged("x", StatusData("x", "local", services, None, [], outlook("spoke", services, RECORD)), services)
    )


def test_a_frame_has_the_time_the_status_and_ends_with_the_outlook_and_what_is_not_well() -> None:
    lines = drawing.frame(look([primary(), down("postgres-replica")]))
    assert lines[0] == "2026-01-31 12:00:00 UTC"
    assert lines[2].startswith("SERVICE")
    assert lines[-2].startswith("if postgres-primary dies: nobody can take over")
    assert lines[-1] == "not everything is well: postgres-replica: stopped by hand"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (20, 30)])
def test_a_frame_fits_the_terminal_and_keeps_its_last_lines_whole(width: int, height: int) -> None:
    lines = drawing.frame(look(WELL), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any(line.startswith("…") for line in lines)
    assert outlook("spoke", WELL, RECORD)[0].sentence in " ".join(lines)


def test_on_a_low_terminal_what_is_well_makes_room_for_what_is_not() -> None:
    ill = service("otel-collector", Kind.COLLECTOR, "", "unhealthy", "it does not answer")
    whole = drawing.frame(look([*WELL, down("redis-replica", Kind.REDIS), ill]))
    for height in range(14, len(whole)):
        lines = drawing.frame(look([*WELL, down("redis-replica", Kind.REDIS), ill]), 200, height)
        assert len(lines) <= height
        rows = [line.partition(" ")[0] for line in lines]
        assert rows.count("otel-collector") == 1
        assert rows.count("redis-replica") == 2  # among the services and in Redis's own table
        note = next(line for line in lines if line.startswith("…"))
        gone = [line for line in whole if line not in lines and line.partition(" ")[0] in {each.service for each in WELL}]
        assert note == f"… rows not shown, all of them well: {len(gone)}"
        assert lines[-3:] == whole[-3:]
    assert not any(line.startswith("…") for line in drawing.frame(look(WELL), 200, 100))


def test_a_table_of_which_no_row_is_left_has_no_head_either() -> None:
    lines = drawing.frame(look([*WELL, down("otel-collector", Kind.COLLECTOR)]), 200, 12)
    assert "POSTGRESQL" not in {line.partition(" ")[0] for line in lines}
    assert "otel-collector" in {line.partition(" ")[0] for line in lines}


def test_the_access_points_make_room_for_the_last_rows_that_are_not_well() -> None:
    door = Endpoint("API", "nginx", "http://localhost:8080", "")
    ill = [service("nginx", Kind.LOAD_BALANCER), *(down(f"spoke-{number}", Kind.SPOKE) for number in range(9))]
    seen = look(ill)
    seen = replace(seen, result=replace(seen.result, data=replace(seen.result.data, endpoints=[door])))
    lines = drawing.frame(seen)
    assert "http://localhost:8080" in lines[2]
    for height, kept in [(len(lines), True), (len(lines) - 2, False)]:
        less = drawing.frame(seen, 200, height)
        assert len(less) <= height
        assert any("http://localhost:8080" in line for line in less) == kept
        assert any(line.startswith("spoke-8 ") for line in less)


def test_the_absence_of_the_whole_stack_is_a_frame() -> None:
    assert drawing.frame(GONE) == ["2026-01-31 12:00:00 UTC", "the stack x is not running"]


def test_only_a_change_is_said_again_and_a_position_that_moves_is_none() -> None:
    moved = [primary(replace(PRIMARY, lsn="0/4000000")), standby()]
    ill = [primary(), down("postgres-replica")]
    looks = [look(WELL[:2]), look(moved), look(ill), look(ill), GONE, GONE, look(WELL[:2])]
    assert list(drawing.changes(looks)) == [looks[0], looks[2], looks[4], looks[6]]


def test_off_a_terminal_a_change_is_a_json_line_or_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    drawing.watch([look(WELL), look(WELL), GONE], lambda result: dumps(envelope("status", result)))
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["status"], first["data"]["services"][0]["role"]) == ("ok", "primary")
    assert (second["status"], second["error"]["code"]) == ("error", "not_running")
    drawing.watch([GONE, GONE], None)
    assert capsys.readouterr().out == "2026-01-31 12:00:00 UTC\nthe stack x is not running\n\n"


def test_a_stack_that_never_was_is_watched_too_but_a_wrong_stack_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOKECTL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    pauses: list[None] = []
    seen = list(islice(watch("never-was", None, [], lambda: pauses.append(None)), 2))
    assert [each.result.error and each.result.error.code for each in seen] == ["no_stack", "no_stack"]
    assert len(pauses) == 1
    state = StackState("broken", tmp_path)
    state.ensure()
    state.write_record(StackRecord("local", str(tmp_path / "gone.yml"), "2026-01-01T00:00:00+00:00"))
    with pytest.raises(UsageError, match=r"gone\.yml"):
        next(watch("broken", None, [], lambda: None))
