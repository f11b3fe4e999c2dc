"""The stack's settings: which there are, what holds now and why, and how to keep another value."""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from spokectl.errors import NotFound, Refused, UsageError
from spokectl.model import Setting, Stack
from spokectl.operations.context import exclusive, open_stack, stack_file, stack_files
from spokectl.operations.secret_settings import exposed, is_of_a_database, is_secret
from spokectl.operations.setting_values import expected
from spokectl.printable import quoted
from spokectl.result import Result
from spokectl.settings import StackState, command_line, read_env_file, write_env_file
from spokectl.stackfile import load_stack

_PREFIX = "SPOKE_"
MASK = "********"
# Where a value was chosen, and how it is taken back there.
_CHOSEN = {
    "shell": ("the shell", "unset {}"),
    "file": ("the stack's settings", "config unset {}"),
    "dotenv": ("the .env beside the stack file", "correct {} there"),
}


def listed(name: str, file: Path | None, *, show_secrets: bool) -> Result:
    """Every setting of the stack file with its value, its default and where the value comes from."""
    settings = sorted(open_stack(name, file).settings.values(), key=lambda setting: setting.name)
    return Result([_shown(setting, show_secrets=show_secrets) for setting in settings])


def value_of(name: str, file: Path | None, setting: str) -> Result:
    """One setting, in clear. NotFound (`unknown_setting`) with the nearest name."""
    settings = open_stack(name, file).settings
    return Result(_shown(settings[_known(settings, setting, name)], show_secrets=True))


def keep(name: str, file: Path | None, pairs: list[str], read_value: Callable[[str], str]) -> Result:
    """Keeps NAME=VALUE pairs for the stack, all or none; they hold from the next `up`.

    `read_value` gives the value of a setting written `NAME=-`, of which there may be one. A secret that stands in the pair
    itself is kept with a warning: arguments can be seen by others.
    """
    split = [pair.partition("=") for pair in pairs]
    for setting, equals, _ in split:
        if not equals:
            raise UsageError("bad_setting", f"expected NAME=VALUE, found {setting!r}")
    asked = [setting for setting, _, value in split if value == "-"]
    if len(asked) > 1:
        raise UsageError("bad_setting", f"only one value can come from standard input, not {' and '.join(asked)}")
    values = {setting: read_value(setting) if value == "-" else value for setting, _, value in split}
    kept = _change(name, file, set_values=values, unset=[])
    seen = [setting for setting in values if is_secret(setting) and setting not in asked]
    return replace(kept, warnings=(*kept.warnings, *(_exposure(name, setting) for setting in seen)))


def _exposure(stack: str, setting: str) -> str:
    better = command_line(stack, f"config set {setting}=-")
    return f"{setting} stood in the arguments, for other users and the shell's history to see; better: {better} < FILE"


def forget(name: str, file: Path | None, settings: list[str]) -> Result:
    """Goes back to the defaults of the stack file. `unset` of the result names those that had been set for the stack."""
    return _change(name, file, set_values={}, unset=settings)


def _change(name: str, file: Path | None, *, set_values: dict[str, str], unset: list[str]) -> Result:
    state = StackState(name)
    stack = open_stack(name, file)
    settings = stack.settings
    for setting in [*set_values, *unset]:
        _known(settings, setting, name)
    for setting, value in set_values.items():
        if wanted := expected(stack, settings[setting], value):
            raise UsageError("bad_setting", f"{setting}={_quoted(setting, value)}: expected {wanted}")
    moved = [name for name, value in set_values.items() if value != settings[name].value]
    moved += [name for name in unset if settings[name].value != settings[name].default]
    _require_no_new_password(state, moved)
    with exclusive(state, "config"):
        before = read_env_file(state.env_file)
        env = {key: value for key, value in (before | set_values).items() if key not in unset}
        # The whole file is read with the new values before they are kept: a broken one is refused, not discovered later.
        after = load_stack(name, stack_files(state, stack_file(file, state.read_record())), shell=os.environ, env_file=env)
        write_env_file(state.env_file, env)
    overruled = [setting for setting in set_values if setting in os.environ]
    warnings = [f"{each} is also set in the shell, which comes first" for each in overruled]
    warnings += _ports_left_alone(stack, before, env)
    warnings += _open_to_all(after)
    gone = sorted(set(unset) & before.keys())
    return Result({"set": sorted(set_values), "unset": gone, "file": str(state.env_file)}, tuple(warnings))


def _ports_left_alone(stack: Stack, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Warnings for ports that no longer move with the stack's others, as `up --port-offset` had moved them all."""

    def offsets(env: Mapping[str, str]) -> dict[str, int]:
        ports = {name: env[name] for name in stack.port_settings if env.get(name, "").isdecimal()}
        return {name: int(value) - stack.port_settings[name] for name, value in ports.items()}

    moved = offsets(after)
    offset = max(moved.values(), key=list(moved.values()).count, default=0)
    return [
        f"{name} is {stack.port_settings[name]} from the next `up`, while other ports stay moved by {offset}; "
        f"to move it with them: {command_line(stack.name, f'config set {name}={stack.port_settings[name] + offset}')}"
        for name, its in offsets(before).items()
        if its == offset != 0 and name not in moved
    ]


def _open_to_all(stack: Stack) -> list[str]:
    """A warning where the next `up` will be refused for its passwords; both may still be on their way."""
    names = sorted({name for each in exposed(stack, stack.services) for name in each.variables})
    if not names:
        return []
    up = command_line(stack.name, "up --generate-secrets")
    return [
        f"others could log in, and everybody knows the value of {', '.join(names)}: the next `up` is refused without {up}"
    ]


def require_shapes(stack: Stack) -> None:
    """UsageError (`bad_setting`) for the first value that `config set` would not take, wherever it comes from.

    Found out by the servers, it would be found out one after the other, when they have been stopped already.
    """
    for setting in stack.settings.values():
        if setting.source not in _CHOSEN or not setting.name.startswith(_PREFIX):
            continue
        if wanted := expected(stack, setting, setting.value):
            where, undo = (words.format(setting.name) for words in _CHOSEN[setting.source])
            raise UsageError(
                "bad_setting",
                f"{setting.name}={_quoted(setting.name, setting.value)} in {where}: expected {wanted}",
                actions=[command_line(stack.name, undo) if setting.source == "file" else undo],
            )


def _require_no_new_password(state: StackState, names: list[str]) -> None:
    """Refused (`password_in_use`): the database keeps the passwords that it was made with, and nobody could log in."""
    fixed = [name for name in names if is_of_a_database(name)]
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
    # Compared without what all of them begin with: that alone would make any two alike.
    tails = {known.removeprefix(_PREFIX): known for known in settings}
    near = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), tails, n=1)
    hint = f": did you mean {tails[near[0]]}?" if near else ""
    raise NotFound(
        "unknown_setting",
        f"the stack file has no setting {name!r}{hint}",
        actions=[command_line(stack, "config list")],
    )


def _quoted(name: str, value: str) -> str:
    """The value as it may stand in an error."""
    return MASK if is_secret(name) else quoted(value)


def _shown(setting: Setting, *, show_secrets: bool) -> Setting:
    if show_secrets or not is_secret(setting.name):
        return setting
    return Setting(setting.name, MASK, MASK if setting.default else setting.default, setting.source)
