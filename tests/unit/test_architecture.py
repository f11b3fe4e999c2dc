"""Imports point one way (docs/architecture.md): a room knows only the rooms below it."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each room and what it may import, besides itself.
LAYERS = ["base", "compose", "stackfile", "clients", "runtime", "operations", "drills", "output", "cli"]
BASE = {
    "model",
    "errors",
    "result",
    "wait",
    "journal",
    "lsn",
    "settings",
    "units",
    "interpolation",
    "facts",
    "compose",
    "printable",
    "version_order",
}
# Libraries that belong to one room only.
HOMES = {
    "docker": {"spokectl.runtime.docker"},
    "supervisor": {"spokectl.runtime.local"},
    "typer": {"spokectl.cli"},
    "click": {"spokectl.cli"},
    "rich": {"spokectl.cli", "spokectl.output"},
    "psycopg": {"spokectl.clients", "spoke_server"},
    "redis": {"spokectl.clients", "spoke_server", "spokectl.runtime.local.redis_cli"},
    "boto3": {"spokectl.clients", "spoke_server"},
    "httpx": {"spokectl.clients"},
    "yaml": {"spokectl.compose"},
    "jmespath": {"spokectl.cli.query"},
    # Slow to load, and needed by a write alone: in a process of its own.
    "grpc_tools": {"spoke_server.protobuf.worker"},
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in ("spokectl", "spoke_server"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found.append((name.removesuffix(".__init__"), path))
    return found


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(module: str) -> int | None:
    room = module.split(".")[1] if "." in module else ""
    if room in BASE:
        return 0
    return LAYERS.index(room) if room in LAYERS else None


@pytest.mark.parametrize(("module", "path"), modules())
def test_a_room_imports_only_rooms_below_it(module: str, path: Path) -> None:
    here = layer(module) if module.startswith("spokectl") else None
    for imported in imports(path):
        if imported.startswith("spokectl.") and here is not None:
            there = layer(imported)
            assert there is None or there <= here, f"{module} imports {imported}"
        if module.startswith("spokectl"):
            assert not imported.startswith("spoke_server"), f"{module} imports the server"
        else:
            assert not imported.startswith("spokectl"), f"{module} imports the tool"


@pytest.mark.parametrize(("module", "path"), modules())
def test_a_library_is_imported_only_in_its_home(module: str, path: Path) -> None:
    for imported in imports(path):
        homes = HOMES.get(imported.split(".")[0])
        if homes is not None:
            assert any(module == home or module.startswith(home + ".") for home in homes), f"{module} imports {imported}"


@pytest.mark.parametrize("path", sorted((ROOT / "stack/services/postgres").rglob("*.py")), ids=lambda path: path.name)
def test_the_guard_needs_nothing_but_python(path: Path) -> None:
    """It runs where PostgreSQL does, in a container that has no other library."""
    roots = {imported.split(".")[0] for imported in imports(path)}
    assert roots <= sys.stdlib_module_names | {"pgguard"}


@pytest.mark.parametrize(("module", "path"), [(m, p) for m, p in modules() if m.startswith("spokectl.operations")])
def test_operations_never_print_prompt_or_exit(module: str, path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "exit"}, f"{module} calls {node.func.id}"


@pytest.mark.parametrize(("module", "path"), modules())
def test_a_module_stays_short_enough_to_be_read(module: str, path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420, module
