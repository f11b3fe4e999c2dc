"""The stack's settings: which there are, what holds now and why, and how to keep another value."""

import difflib
import os
import re
from pathlib import Path

from spokectl.errors import NotFound, Refused, UsageError
from spokectl.model import Setting
from spokectl.operations.context import exclusive, open_stack, stack_file, stack_files
from spokectl.printable import quoted
from spokectl.result import Result
from spokectl.settings import StackState, command_line, read_env_file, write_env_file
from spokectl.stackfile import load_stack

_SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN")
MASK = "********"


def is_secret(name: str) -> bool:
    return any(word in name for word in _SECRET_WORDS)


def listed(name: str, file: Path | None, *, show_secrets: bool) -> Result:
    """Every setting of the stack file with its value, its default and where the value comes from."""
    settings = sorted(open_stack(name, file).settings.values(), key=lambda setting: setting.name)
    return Result([_shown(setting, show_secrets=show_secrets) for setting in settings])


def value_of(name: str, file: Path | None, setting: str) -> Result:
    """One setting, in clear. NotFound (`unknown_setting`) with the nearest name."""
    settings = open_stack(name, file).settings
    return Result(_shown(settings[_known(settings, setting, name)], show_secrets=True))


def keep(name: str, file: Path | None, pairs: list[str]) -> Result:
    """Keeps NAME=VALUE pairs for the stack, all or none; they hold from the next `up`."""
    values = {}
    for pair in pairs:
        setting, equals, value = pair.partition("=")
        if not equals:
            raise UsageError("bad_setting", f"expected NAME=VALUE, found {pair!r}")
        values[setting] = value
    return _change(name, file, set_values=values, unset=[])


def forget(name: str, file: Path | None, settings: list[str]) -> Result:
    """Goes back to the defaults of the stack file."""
    return _change(name, file, set_values={}, unset=settings)


def _change(name: str, file: Path | None, *, set_values: dict[str, str], unset: list[str]) -> Result:
    state = StackState(name)
    settings = open_stack(name, file).settings
    for setting in [*set_values, *unset]:
        _known(settings, setting, name)
    for setting, value in set_values.items():
        _require_shape(settings[setting], value)
    _require_no_new_password(state, [*set_values, *unset])
    with exclusive(state, "config"):
        env = {key: value for key, value in (read_env_file(state.env_file) | set_values).items() if key not in unset}
        # The whole file is read with the new values before they are kept: a broken one is refused, not discovered later.
        load_stack(name, stack_files(state, stack_file(file, state.read_record())), shell=os.environ, env_file=env)
        write_env_file(state.env_file, env)
    overruled = [setting for setting in set_values if setting in os.environ]
    warnings = tuple(f"{each} is also set in the shell, which comes first" for each in overruled)
    return Result({"set": sorted(set_values), "unset": sorted(unset), "file": str(state.env_file)}, warnings)


_SHAPES = (
    (re.compile(r"\d+\Z"), re.compile(r"\d+\Z", re.ASCII), "a whole number"),
    (re.compile(r"(true|false)\Z"), re.compile(r"(true|false)\Z"), "true or false"),
    (re.compile(r"\d+(ms|s|m|h)\Z"), re.compile(r"(\d+(\.\d+)?(ms|s|m|h))+\Z", re.ASCII), "a duration such as 10s"),
    (re.compile(r"\d+[kMG]B\Z"), re.compile(r"\d+[kMGT]B\Z", re.ASCII), "a size such as 64MB"),
)


def _require_shape(setting: Setting, value: str) -> None:
    """UsageError (`bad_setting`) when the default is a number, a duration, a size or a truth, and the value is not."""
    for default, shape, expected in _SHAPES:
        if setting.default is not None and default.match(setting.default) and not shape.match(value):
            raise UsageError("bad_setting", f"{setting.name}={quoted(value)}: expected {expected}, as {setting.default}")


def _require_no_new_password(state: StackState, names: list[str]) -> None:
    """Refused (`password_in_use`): the database keeps the passwords that it was made with, and nobody could log in."""
    fixed = [name for name in names if re.match(r"SPOKE_POSTGRES_(\w+_)?(USER|PASSWORD|DATABASE)\Z", name)]
    if fixed and state.read_record() is not None:
        raise Refused(
            "password_in_use",
            f"{', '.join(fixed)}: the database was made with another value and keeps it",
            actions=[
                command_line(state.name, "down --volumes") + "  # deletes all data",
                "bring up another stack with it: spokectl config set … --stack NAME",
            ],
        )


def _known(settings: dict[str, Setting], name: str, stack: str) -> str:
    if name in settings and settings[name].source != "stack":
        return name
    near = difflib.get_close_matches(name, settings, n=1)
    hint = f": did you mean {near[0]}?" if near else ""
    raise NotFound(
        "unknown_setting",
        f"the stack file has no setting {name!r}{hint}",
        actions=[command_line(stack, "config list")],
    )


def _shown(setting: Setting, *, show_secrets: bool) -> Setting:
    if show_secrets or not is_secret(setting.name):
        return setting
    return Setting(setting.name, MASK, MASK if setting.default else setting.default, setting.source)
