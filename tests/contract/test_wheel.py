"""What is installed is whole: the wheel carries the stack, and nothing that only the repository needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from spokectl.model import Kind

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_stack_travels_inside_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert wheel.read("spokectl/_stack/ha-stack.yml") == (ROOT / "stack" / "ha-stack.yml").read_bytes()
    assert {f"spokectl/_stack/services/{kind}/run" for kind in Kind} <= names
    sources = {
        f"spokectl/_stack/{path.relative_to(ROOT / 'stack')}"
        for path in (ROOT / "stack").rglob("*")
        if path.is_file()
        and not any(part == "__pycache__" or part.startswith(".") for part in path.parts[len(ROOT.parts) :])
    }
    assert sources <= names


def test_the_server_and_its_migrations_are_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    migrations = {f"spoke_server/migrations/{path.name}" for path in (ROOT / "spoke_server" / "migrations").glob("*.sql")}
    assert migrations
    assert migrations <= names


def test_tests_and_caches_stay_outside_the_wheel(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"spokectl", "spoke_server"}
    assert not [name for name in wheel.namelist() if "__pycache__" in name or name.endswith(".pyc")]
