"""Whatever is typed or lies about: no traceback, the right exit code, the message on stderr only, one envelope as JSON.

What people are told is compared whole with bad_inputs.txt. After a change that is meant, write it anew and read the diff:
`WRITE_TOLD=1 python -m pytest -n 0 tests/contract/test_bad_inputs.py`.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spokectl.stackfile import default_stack_file
from tests.schema import checked

Prepare = Callable[[Path], None]
HUGE = "9" * 400
# What Python's own compiler of expressions meets with three different exceptions.
NO_PATTERNS = ("(", "a{99999999999}", "(" * 3000)


TOLD = Path(__file__).with_name("bad_inputs.txt")
HEAD = "\n$ "
# What is longer is there to be cut, which is tried elsewhere.
LONGEST_HEAD = 160
told: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def what_people_are_told() -> Iterator[None]:
    """Reads the file, or writes what has been told in this run."""
    writes = bool(os.environ.get("WRITE_TOLD"))
    if not writes:
        for block in TOLD.read_text(encoding="utf-8").split(HEAD)[1:]:
            head, _, told[head] = block.partition("\n")
    yield
    if writes:
        TOLD.write_text("".join(f"{HEAD}{head}\n{text}" for head, text in sorted(told.items())), encoding="utf-8")


def compare_whole(head: str, said: str) -> None:
    if os.environ.get("WRITE_TOLD"):
        assert told.setdefault(head, said) == said, f"{head}: two texts"
    else:
        assert said == told.get(head, "nothing: it is not in bad_inputs.txt")


def spokectl(folder: Path, words: list[str], **variables: str | None) -> "subprocess.CompletedProcess[bytes]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "SPOKECTL_STATE_DIR": str(folder / "state"),
        "DOCKER_HOST": f"unix://{folder}/no-engine",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "spokectl", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=240,
        cwd=folder,
        env={name: value for name, value in environment.items() if value is not None},
    )


def holds(
    folder: Path, words: list[str], exit_code: int, variables: dict[str, str | None] | None = None, case: str = ""
) -> None:
    """The contract of an error, for people and for programs. `case` tells what else is wrong, where the words do not."""
    variables = variables or {}
    plain = spokectl(folder, words, **variables)
    assert (plain.returncode, plain.stdout) == (exit_code, b""), plain.stderr
    said = plain.stderr.decode("utf-8")
    # What came before it is progress.
    assert any(line.startswith("error: ") for line in said.splitlines())
    assert "Traceback" not in said
    assert "defect" not in said
    assert all(line.isprintable() and len(line) < 2000 for line in said.splitlines())
    for_programs = spokectl(folder, [*words, "--json"], **variables)
    assert (for_programs.returncode, for_programs.stderr) == (exit_code, b"")
    answer = checked(for_programs.stdout)
    assert (answer["status"], answer["data"]) == ("error", None)
    assert answer["error"]["message"].split("\n")[0][:300] in said
    settings = [f"{name}={value}" if value is not None else f"-{name}" for name, value in variables.items()]
    head = ascii(shlex.join([*settings, "spokectl", *words]) + (f"  # {case}" if case else ""))[1:-1]
    if len(head) <= LONGEST_HEAD:
        # Without the progress before it, and without what differs from run to run.
        error = (
            said[said.index("error: ") :].replace(str(folder), "FOLDER").replace(str(default_stack_file().parent), "STACK")
        )
        compare_whole(head, re.sub("0x[0-9a-f]{8,}", "0x…", error))


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        # 2: unknown words and flags
        (["staus"], 2),
        (["postgres", "lagg"], 2),
        (["status", "--watchh"], 2),
        (["modules", "list", "one", "too many"], 2),
        (["--stack", "x", "status"], 2),
        # 3: empty texts
        ([""], 2),
        (["restart", ""], 4),
        (["config", "get", ""], 4),
        (["config", "set", ""], 2),
        (["config", "set", "=x"], 4),
        (["up", "--file", ""], 2),
        (["up", "--runtime", ""], 2),
        (["modules", "create", ""], 2),
        (["modules", "get", "a", "--url", ""], 2),
        (["logs", "--since", ""], 4),
        # 4 and 5: numbers and durations
        *(
            (["up", "--timeout", each], 2)
            for each in ("-1s", "0s", "nan", "inf", "-inf", "1e999", HUGE, "5 m", "5x", "", "٣s")
        ),
        *((["up", "--spokes", each], 2) for each in ("-1", "0", "1.5", "nan", "1e3", "٣x", "100000")),
        *((["up", "--port-offset", each], 2) for each in ("-1", "65536", "x", "1e3")),
        *((["drill", "run", "spoke-kill", "--repeat", each], 2) for each in ("0", "-1", "1001", "x", HUGE)),
        (["drill", "run", "spoke-kill", "--objective", "rto=nan"], 2),
        (["drill", "run", "spoke-kill", "--objective", "rto"], 2),
        (["drill", "run", "nope"], 4),
        (["drill", "show", "../../etc"], 4),
        (["status", "--watch", "--interval", "0"], 2),
        (["logs", "--tail", "-1"], 2),
        *(([*words, each], 2) for words in (["logs", "--grep"], ["metrics", "--match"]) for each in NO_PATTERNS),
        (["logs", "--since", "2026-13-45"], 4),
        # 6: bytes that are no UTF-8
        ([os.fsdecode(b"\xff\xfe")], 2),
        (["status", "--stack", os.fsdecode(b"\xff")], 2),
        (["modules", "get", os.fsdecode(b"\xff"), "--url", "http://127.0.0.1:9"], 2),
        (["config", "get", os.fsdecode(b"\xff")], 4),
        (["cache", "keys", "--match", os.fsdecode(b"\xff")], 2),
        (["cache", "bench", "--module", os.fsdecode(b"\xff"), "--version", "v1"], 2),
        (["cache", "bench", "--module", "a", "--version", os.fsdecode(b"\xff")], 2),
        # 7: what could steer a terminal or a log
        (["sta\x1b[31mtus"], 2),
        (["config", "get", "a\nb"], 4),
        (["status", "--stack", "a\nb"], 2),
        (["restart", "spoke-1\x1b]0;x\x07"], 4),
        # 8: names that are paths, flags or shell
        *((["status", "--stack", each], 2) for each in ("../x", "/x", "-x", "a b", ";$(id)", "'", '"', "A", "a" * 64)),
        (["up", "--file", "../nowhere.yml"], 2),
        # 9: long
        (["x" * 100_000], 2),
        (["config", "get", "x" * 100_000], 4),
        (["status", "--stack", "x" * 100_000], 2),
        (["up", "--file", "x" * 100_000], 2),
        # 18: no engine
        (["up", "--runtime", "docker"], 5),
        # 23: roles of a stack that is not there
        (["failover", "postgres", "--to", "nobody"], 4),
        (["switchover", "redis", "--to", ""], 4),
    ],
)
def test_what_is_typed(tmp_path: Path, words: list[str], exit_code: int) -> None:
    holds(tmp_path, words, exit_code)


def _made(kind: str) -> Prepare:
    def prepare(folder: Path) -> None:
        path = folder / "my.yml"
        text = default_stack_file().read_text(encoding="utf-8")
        match kind:
            case "folder":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "loop":
                path.symlink_to(path)
            case "bom":
                path.write_text("\ufeffservices: [", encoding="utf-8")
            case "binary":
                path.write_bytes(bytes(range(256)))
            case "bomb":
                layers = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
                path.write_text("\n".join(["l0: &l0 x", *layers, "services: {a: {environment: *l9}}"]))
            case "twice":
                path.write_text(text + "\nservices: {}\n")
            case _:
                path.write_text(kind)

    return prepare


@pytest.mark.parametrize(
    "kind",
    [
        *("folder", "fifo", "loop", "bom", "binary", "bomb", "twice"),
        *(
            "",
            "\n",
            "services",
            "services: []",
            "services: {a: 1}",
            "services: {a: {ports: x}}",
            "\tservices: {}",
            "a: [",
            "- a\n- b",
        ),
        *("services: !!python/object/apply:os.system [id]", "services: {a: {image: 1, depends_on: 7}}", "services: {1: {}}"),
        *("services: {a: {environment: {X: ${Y:?no}}}}", "services: {a: {environment: {X: '${'}}}", "a: b: c"),
    ],
)
def test_a_stack_file_that_is_none(tmp_path: Path, kind: str) -> None:
    """Items 10, 11, 12: also what could be read for ever, or grow without end."""
    _made(kind)(tmp_path)
    holds(tmp_path, ["up", "--file", "my.yml", "--runtime", "local"], 2, case=f"my.yml: {kind!r}")


@pytest.mark.parametrize(
    ("variables", "words", "exit_code"),
    [
        # 13, 17: the environment
        ({"SPOKECTL_STACK": "../x"}, ["status"], 2),
        ({"SPOKECTL_FILE": "nowhere.yml"}, ["up"], 2),
        ({"SPOKECTL_RUNTIME": "podman"}, ["up"], 2),
        ({"SPOKECTL_URL": "ftp://x"}, ["modules", "list"], 2),
        ({"SPOKECTL_URL": "http://127.0.0.1:99999"}, ["modules", "list"], 2),
        ({"SPOKECTL_STATE_DIR": "relative"}, ["status"], 2),
        ({"SPOKECTL_STATE_DIR": "/dev/null/x"}, ["config", "set", "SPOKE_LOG_LEVEL=debug"], 5),
        (
            {"SPOKECTL_STATE_DIR": None, "HOME": None, "XDG_STATE_HOME": "/dev/null"},
            ["config", "set", "SPOKE_LOG_LEVEL=debug"],
            5,
        ),
        ({"SPOKE_NGINX_PORT": "abc"}, ["up", "--runtime", "local"], 2),
        ({"SPOKE_NGINX_PORT": "65536"}, ["up", "--runtime", "local"], 2),
        ({"SPOKE_POSTGRES_MAX_CONNS": "1e9"}, ["up", "--runtime", "local"], 2),
        ({"DOCKER_HOST": "nonsense://"}, ["up", "--runtime", "docker"], 5),
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, ["up", "--runtime", "docker"], 5),
        # 15, 21: the terminal and the language
        *(({name: value}, ["staus"], 2) for name, value in (("LC_ALL", "C"), ("LC_ALL", "tr_TR.UTF-8"), ("COLUMNS", "1"))),
        *(({name: value}, ["staus"], 2) for name, value in (("FORCE_COLOR", "1"), ("TERM", "dumb"), ("COLUMNS", "x"))),
    ],
)
def test_what_the_environment_says(
    tmp_path: Path, variables: dict[str, str | None], words: list[str], exit_code: int
) -> None:
    holds(tmp_path, words, exit_code, variables)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"version": 99}', b"\xff\xfe", b'{"runtime": 7}', b"\0" * 100]
)
def test_a_record_of_the_stack_that_is_damaged_or_from_the_future(tmp_path: Path, content: bytes) -> None:
    """Item 27: it is named, and never overwritten."""
    folder = tmp_path / "state" / "spoke"
    folder.mkdir(parents=True)
    (folder / "stack.json").write_bytes(content)
    for words in (["status"], ["up"], ["config", "set", "SPOKE_LOG_LEVEL=debug"]):
        holds(tmp_path, words, 5, case=f"stack.json: {content[:9]!r}")
    assert (folder / "stack.json").read_bytes() == content


@pytest.mark.parametrize("password", ["'\"\\$%@:/ #", "${HOME}", "пароль", "日本語 🙂", "-", "a=b", " x ", "#"])
def test_a_password_of_any_characters_is_kept_as_it_is(tmp_path: Path, password: str) -> None:
    """Item 30."""
    given = f"SPOKE_REDIS_PASSWORD={password}"
    if password == "-":
        return holds(tmp_path, ["config", "set", given], 2)  # nothing comes on standard input
    assert spokectl(tmp_path, ["config", "set", given]).returncode == 0
    got = spokectl(tmp_path, ["config", "get", "SPOKE_REDIS_PASSWORD", "--query", "value"])
    assert got.stdout.decode() == password + "\n"
    return None
