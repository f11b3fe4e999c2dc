"""Where the tool keeps a stack's state, and the stack's env file of `SPOKE_…` settings.

`SPOKE_…` variables belong to the stack (they fill `${…}` in its file), `SPOKECTL_…` to this tool.
"""

import errno
import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spokectl.errors import Refused, UsageError, why_unreadable
from spokectl.printable import is_utf8, quoted

DEFAULT_STACK = "spoke"
_STACK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
RECORD_VERSION = 1


def state_root(environ: Mapping[str, str] = os.environ, *, is_root: bool | None = None) -> Path:
    """The folder that holds one folder a stack: $SPOKECTL_STATE_DIR, $XDG_STATE_HOME/spokectl, or the user's own place.

    UsageError (`bad_state_dir`) for a path that would mean another folder after `cd`, or that no configuration can name. A
    relative $XDG_STATE_HOME counts as none. Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    root = _state_root(environ, is_root=is_root)
    problem = None
    if not root.is_absolute():
        problem = "it is relative, so it would be another folder after each cd"
    elif not is_utf8(str(root)) or not str(root).isprintable():
        problem = "it holds a line break or another character that cannot be shown"
    elif ":" in str(root):
        problem = "it holds a colon, which PATH cannot"
    if problem is not None:
        raise UsageError(
            "bad_state_dir",
            f"stacks' state cannot be kept in {quoted(str(root), 200)}: {problem}",
            actions=["export SPOKECTL_STATE_DIR=/path/to/a/folder"],
        )
    return root


def _state_root(environ: Mapping[str, str], *, is_root: bool | None) -> Path:
    if environ.get("SPOKECTL_STATE_DIR"):
        return Path(environ["SPOKECTL_STATE_DIR"])
    if environ.get("XDG_STATE_HOME", "").startswith("/"):
        return Path(environ["XDG_STATE_HOME"]) / "spokectl"
    if os.geteuid() == 0 if is_root is None else is_root:
        return Path("/var/lib/spokectl")
    home = environ.get("HOME")
    if not home:
        raise Refused(
            "no_state_dir",
            "there is no place for the stack's state: HOME is not set",
            actions=["export SPOKECTL_STATE_DIR=/path/to/a/folder"],
        )
    return Path(home) / ".local" / "state" / "spokectl"


def stack_name(chosen: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The stack to work on: --stack, else $SPOKECTL_STACK, else `spoke`. UsageError when it cannot be a name."""
    name = chosen if chosen is not None else environ.get("SPOKECTL_STACK") or DEFAULT_STACK
    if not _STACK_NAME.match(name):
        raise UsageError(
            "bad_stack_name",
            f"{name!r} cannot name a stack: lower-case letters, digits, - and _, at most 63, a letter or digit first",
        )
    return name


def command_line(stack: str, words: str) -> str:
    """What to type for `words` to mean this stack: `spokectl up`, or `spokectl up --stack second`."""
    return f"spokectl {words}" if stack == DEFAULT_STACK else f"spokectl {words} --stack {stack}"


def for_stack(stack: str, command: str) -> str:
    """A command that somebody without the stack's name wrote, such as a guard, made to mean this stack."""
    program, _, words = command.partition(" ")
    if program != "spokectl":
        return command
    words, dashes, rest = words.partition(" -- ")
    return command_line(stack, words) + dashes + rest


@dataclass(frozen=True)
class StackRecord:
    """What was decided at the stack's first `up` and cannot be asked from anybody later."""

    runtime: str
    file: str
    created_at: str


class StackState:
    """A stack's folder. Everything in it is private to its owner; nothing in it says what runs or who is primary."""

    def __init__(self, name: str, root: Path | None = None) -> None:
        self.name = name
        self.folder = (root or state_root()) / name

    @property
    def env_file(self) -> Path:
        return self.folder / "stack.env"

    @property
    def record_file(self) -> Path:
        return self.folder / "stack.json"

    @property
    def override_file(self) -> Path:
        """What `scale` and `up --spokes` add to the user's stack file."""
        return self.folder / "override.yml"

    @property
    def last_known_file(self) -> Path:
        """The services as they were last brought up, for a `down` whose stack file cannot be read."""
        return self.folder / "last-known.json"

    @property
    def applied_file(self) -> Path:
        """The services as the last `up` that succeeded brought them up."""
        return self.folder / "applied.json"

    @property
    def lock_file(self) -> Path:
        return self.folder / "lock"

    @property
    def events_file(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def underway_file(self) -> Path:
        """The journal of the operation under way."""
        return self.folder / "underway.jsonl"

    @property
    def drills(self) -> Path:
        """What drills have left behind, a folder for each run."""
        return self.folder / "drills"

    @property
    def faults_file(self) -> Path:
        """What a drill has broken and not healed yet."""
        return self.folder / "faults.jsonl"

    @property
    def drill_lock_file(self) -> Path:
        return self.folder / "drill.lock"

    @property
    def volumes(self) -> Path:
        """The local runtime's named volumes, a folder each."""
        return self.folder / "volumes"

    @property
    def doomed_volumes(self) -> Path:
        """Volumes whose deletion has begun."""
        return self.folder / "volumes.deleted"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def ensure(self) -> None:
        """Creates the folder (0700), and closes the settings in it to others (0600). Refused (`state_dir`) if it cannot."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # PostgreSQL and NGINX's workers may run as another user: they must pass through, but not list.
            self.folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            # Its own name for each process: two commands may come at the same time.
            probe = self.folder / f".writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
            # Written by an editor, or put back from a backup: as root others could get at it.
            if self.env_file.exists() and self.env_file.stat().st_mode & 0o077:
                self.env_file.chmod(0o600)
        except OSError as error:
            raise Refused(
                "state_dir",
                f"the stack's state cannot be kept in {self.folder}: {error.strerror}",
                actions=[remedy(error), "choose another folder: export SPOKECTL_STATE_DIR=/path/to/a/folder"],
            ) from error

    def read_record(self) -> StackRecord | None:
        """What the first `up` decided, or None before it.

        Refused: `state_damaged` when it cannot be understood, `state_unreadable` when the system does not give it.
        """
        path = self.record_file
        try:
            raw = json.loads(path.read_text())
            if raw["version"] > RECORD_VERSION:
                raise Refused("state_newer", f"{path} was written by a newer spokectl", actions=["upgrade spokectl"])
            return StackRecord(str(raw["runtime"]), str(raw["file"]), str(raw["created_at"]))
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            raise Refused(
                "state_dir",
                f"the stack's state cannot be kept in {self.folder}: a file stands where a folder is expected",
                actions=["choose another folder: export SPOKECTL_STATE_DIR=/path/to/a/folder"],
            ) from None
        except OSError as error:
            whose = [f"run spokectl as {_owner(self.folder)}", "or export SPOKECTL_STATE_DIR=/path/to/a/folder"]
            raise Refused(
                "state_unreadable",
                f"{path} cannot be read: {why_unreadable(error)}",
                actions=whose if isinstance(error, PermissionError) else [f"look at it: ls -ld {path}"],
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(
                "state_damaged",
                f"{path} cannot be read: it is damaged, or no record of a stack",
                actions=[f"remove it (rm {path}) and run: {command_line(self.name, 'up')}"],
            ) from error

    def write_record(self, record: StackRecord) -> None:
        content = {"version": RECORD_VERSION} | record.__dict__
        write_privately(self.record_file, json.dumps(content, indent=1) + "\n")


def _owner(folder: Path) -> str:
    try:
        return f"{folder.owner()}, who owns its folder"
    except (OSError, KeyError):
        return "who owns its folder"


def remedy(error: OSError) -> str:
    """What helps where something could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some space"
    return "mount its file system for writing" if error.errno == errno.EROFS else "mend the folder's rights"


def privately(path: str, flags: int) -> int:
    """For `open(…, opener=privately)`: a file that is made now is its owner's alone."""
    return os.open(path, flags, 0o600)


def write_privately(path: Path, content: str | bytes) -> None:
    """Replaces the file whole or not at all; only its owner may read it, whoever could before."""
    temporary = path.with_name(path.name + ".new")
    try:
        # What a killed process left there may be a link, or a file that somebody else has open.
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        what = f"{path} cannot be written: {error.strerror}"
        raise Refused("cannot_write", what, actions=[f"{remedy(error)}: {path.parent}"]) from error


def read_env_file(path: Path) -> dict[str, str]:
    """The settings kept for the stack; empty when there are none. UsageError (`bad_env_file`) names file and line."""
    try:
        # A line ends where it does for Compose: `splitlines` would also end one at characters that a value may hold.
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "bad_env_file",
            f"{path} cannot be read: {why_unreadable(error)}",
            actions=["mend it, or put it aside: " + shlex.join(["mv", str(path), f"{path}.old"])],
        ) from error
    values = {}
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").partition("=")
        if not equals or not _VARIABLE.match(name.strip()):
            raise UsageError(
                "bad_env_file",
                # What stands there is not repeated: it may be a password, with a slip of the pen before it.
                f"{path}, line {number}: expected NAME=VALUE",
                actions=[f"mend or delete line {number} of {path}"],
            )
        values[name.strip()] = _unquote(value.strip())
    return values


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Writes all settings, quoted so that Compose's `--env-file` reads the same values."""
    lines = ["# Settings of this stack: change them with `spokectl config set NAME=VALUE`."]
    lines += [f"{name}={_quote(value)}" for name, value in sorted(values.items())]
    write_privately(path, "\n".join(lines) + "\n")


def _quote(value: str) -> str:
    """Single quotes are literal for Compose, but cannot hold one themselves; double quotes take escapes."""
    if re.fullmatch(r"[A-Za-z0-9_./:@%+,-]*", value):
        return value
    if "\n" in value or "\r" in value or "\0" in value:
        raise UsageError("bad_setting", "a setting cannot hold a line break or a NUL byte")
    # Compose takes a backslash before the closing quote for an escape.
    if "'" not in value and not value.endswith("\\"):
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == "'":
        return value[1:-1]
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r'\\([\\"$])', r"\1", value[1:-1])
    return value.split(" #", 1)[0].rstrip()
