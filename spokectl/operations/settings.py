"""The stack's settings: which there are, what holds now and why, and how to keep another value."""

import difflib
import os
from pathlib import Path

from spokectl.errors import NotFound, UsageError
from spokectl.model import Setting
from spokectl.operations.context import exclusive, open_stack, stack_file, stack_files
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
    with exclusive(state, "config"):
        env = {key: value for key, value in (read_env_file(state.env_file) | set_values).items() if key not in unset}
        # The whole file is read with the new values before they are kept: a broken one is refused, not discovered later.
        load_stack(name, stack_files(state, stack_file(file, state.read_record())), shell=os.environ, env_file=env)
        write_env_file(state.env_file, env)
    overruled = [setting for setting in set_values if setting in os.environ]
    warnings = tuple(f"{each} is also set in the shell, which comes first" for each in overruled)
    return Result({"set": sorted(set_values), "unset": sorted(unset), "file": str(state.env_file)}, warnings)


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
