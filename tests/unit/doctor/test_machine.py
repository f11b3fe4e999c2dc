"""What the doctor says of a machine: a table of facts, each with its verdict and what must be named."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spokectl.operations.doctor.findings import Finding, NotChecked, Verdict
from spokectl.operations.doctor.machine import (
    ClockFacts,
    DiskFacts,
    EngineFacts,
    FileLimitFacts,
    HeldPort,
    MemoryFacts,
    PortFacts,
    ProgramFacts,
    judge_binaries,
    judge_clock,
    judge_clock_difference,
    judge_compose,
    judge_disk,
    judge_engine,
    judge_file_limits,
    judge_memory,
    judge_ports,
)
from spokectl.operations.doctor.machine_facts import engines_folder, memory_of_group, version_in

OK, WARNING, PROBLEM = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM
MIB, GIB = 1 << 20, 1 << 30
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DISK = DiskFacts("/state", 10 * GIB, 100 * GIB, 1_000_000)
START = ("start it",)


@pytest.mark.parametrize(
    ("judge", "facts", "verdict", "named"),
    [
        (judge_engine, EngineFacts("docker", "28.1"), OK, "28.1"),
        (judge_engine, EngineFacts("local", "28.1"), OK, "28.1"),
        (judge_engine, EngineFacts("docker", refused="no engine", actions=START), PROBLEM, "no engine"),
        (judge_engine, EngineFacts("local", refused="no engine", actions=START), OK, "not needed"),
        (judge_engine, EngineFacts("", refused="no engine", actions=START), OK, "not needed"),
        (judge_engine, EngineFacts("docker", "28.1", missing_images=("spoke-nginx:local",)), WARNING, "spoke-nginx:local"),
        (judge_compose, ProgramFacts("docker", ("Compose 2.26",)), OK, "2.26"),
        (judge_compose, ProgramFacts("docker", missing="no Compose", actions=START), PROBLEM, "no Compose"),
        (judge_compose, ProgramFacts("local", missing="no Compose", actions=START), OK, "no Compose"),
        (judge_compose, ProgramFacts("", missing="no Compose", actions=START), OK, "no Compose"),
        (judge_binaries, ProgramFacts("local", ("nginx 1.31",)), OK, "nginx 1.31"),
        (judge_binaries, ProgramFacts("local", missing="no Redis", actions=START), PROBLEM, "no Redis"),
        (judge_binaries, ProgramFacts("docker", ("nginx 1.31",)), OK, "not used by the docker runtime: nginx 1.31"),
        (judge_binaries, ProgramFacts("docker", missing="no Redis", actions=START), OK, "not needed"),
        (judge_binaries, ProgramFacts("", missing="no Redis", actions=START), WARNING, "no Redis"),
        (judge_ports, PortFacts(15), OK, "15 ports"),
        (judge_ports, PortFacts(15, (HeldPort(8080, "nginx", "python (pid 7)"),), actions=START), PROBLEM, "python (pid 7)"),
        (judge_ports, PortFacts(15, refused="ports below 1024 are root's", actions=START), PROBLEM, "1024"),
        (judge_disk, [DISK], OK, "10.0 GiB"),
        (judge_disk, [replace(DISK, free_inodes=None)], OK, "10.0 GiB"),
        (judge_disk, [replace(DISK, free_bytes=1 * GIB)], WARNING, "1.0 GiB"),
        (judge_disk, [replace(DISK, free_bytes=200 * MIB)], PROBLEM, "200 MiB"),
        (judge_disk, [replace(DISK, free_inodes=12)], PROBLEM, "12 more files"),
        (judge_disk, [replace(DISK, read_only=True)], PROBLEM, "read-only"),
        (judge_memory, MemoryFacts(4 * GIB, 8 * GIB, stack_runs=False), OK, "4.0 GiB"),
        (judge_memory, MemoryFacts(300 * MIB, 8 * GIB, stack_runs=False), WARNING, "300 MiB"),
        (judge_memory, MemoryFacts(300 * MIB, 8 * GIB, stack_runs=True), OK, "300 MiB"),
        (judge_memory, MemoryFacts(50 * MIB, 8 * GIB, stack_runs=True), PROBLEM, "50.0 MiB"),
        (judge_file_limits, FileLimitFacts(1024, 4096), OK, "1024, at most 4096"),
        (judge_file_limits, FileLimitFacts(None, None), OK, "unlimited"),
        (judge_file_limits, FileLimitFacts(1024, 1024), WARNING, "1024"),
        (judge_file_limits, FileLimitFacts(256, 256), PROBLEM, "256"),
        (judge_clock, ClockFacts(NOW, NOW - timedelta(days=9), "the last event"), OK, "2026-01-31 12:00:00"),
        (judge_clock, ClockFacts(NOW, NOW + timedelta(seconds=4), "the last event"), OK, "2026-01-31"),
        (judge_clock, ClockFacts(NOW, NOW + timedelta(seconds=6), "the last event"), PROBLEM, "past already"),
        (judge_clock, ClockFacts(NOW.replace(year=2100), NOW, "the last event"), PROBLEM, "2100"),
        (judge_clock_difference, [("postgres-primary", 0.2)], OK, "postgres-primary"),
        (judge_clock_difference, [("postgres-primary", 7.0)], WARNING, "7.0 s ahead of"),
        (judge_clock_difference, [("postgres-primary", -7.0)], WARNING, "7.0 s behind"),
    ],
)
def test_facts_have_their_verdict(
    judge: Callable[[Any], Sequence[Finding]], facts: object, verdict: Verdict, named: str
) -> None:
    [finding] = judge(facts)
    assert (finding.verdict, named in finding.found) == (verdict, True), finding
    if verdict is not OK:
        assert finding.why
        assert finding.actions


def test_every_taken_port_is_a_finding_of_its_own() -> None:
    held = (HeldPort(8080, "nginx", "python (pid 7)"), HeldPort(5432, "postgres-primary", "postgres (pid 9)"))
    assert [each.found for each in judge_ports(PortFacts(15, held, actions=START))] == [
        "8080 (nginx) is held by python (pid 7)",
        "5432 (postgres-primary) is held by postgres (pid 9)",
    ]


def test_without_a_database_no_clock_is_compared() -> None:
    with pytest.raises(NotChecked):
        judge_clock_difference([])


@pytest.mark.parametrize(
    ("name", "said", "version"),
    [
        ("postgres", "postgres (PostgreSQL) 18.6\n", "postgres 18.6"),
        ("redis-server", "Valkey server v=9.1.2 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", "redis-server 9.1.2"),
        ("nginx", "nginx version: nginx/1.31.3\n", "nginx 1.31.3"),
        ("nginx", "", "nginx (no version)"),
    ],
)
def test_a_program_says_its_version(name: str, said: str, version: str) -> None:
    assert version_in(name, said) == version


def test_what_the_kernel_keeps_of_files_is_available_in_a_control_group(tmp_path: Path) -> None:
    """A stack that had read much was said to be out of memory."""
    assert memory_of_group(tmp_path) is None
    for name, text in {"memory.max": "1000", "memory.current": "990", "memory.stat": "anon 90\ninactive_file 900"}.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert memory_of_group(tmp_path) == (910, 1000)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_of_group(tmp_path) is None


def test_the_data_of_an_engine_elsewhere_is_on_no_disk_of_this_machine(tmp_path: Path) -> None:
    assert engines_folder("unix:///var/run/docker.sock", tmp_path) == [tmp_path]
    assert engines_folder("ssh://host", tmp_path) == []
    assert engines_folder("tcp://host:2376", tmp_path) == []
    # As with Docker Desktop.
    assert engines_folder("unix:///home/me/.docker/run/docker.sock", tmp_path / "in-the-vm") == []
