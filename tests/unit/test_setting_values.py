import pytest

from spoke_server.settings import Settings as ServerSettings
from spoke_server.settings import SettingsError
from spokectl.model import Setting, Stack
from spokectl.operations.setting_values import RANGES, expected
from spokectl.stackfile import default_stack_file, load_stack

ROLES = ("INSTANCE", "POSTGRES", "REDIS", "SENTINEL", "MINIO", "NGINX", "OTEL_COLLECTOR")


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack("spoke", [default_stack_file()], shell={}, env_file={})


def taken(stack: Stack, name: str, value: str) -> bool:
    return expected(stack, stack.settings[name], value) is None


def test_every_default_of_the_shipped_stack_is_a_value_that_its_setting_takes(stack: Stack) -> None:
    wrong = {each.name: each.default for each in stack.settings.values() if not taken(stack, each.name, each.default or "")}
    assert wrong == {}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_limit_of_processors_and_of_memory(stack: Stack, role: str) -> None:
    for value in ("0", "0.5", "2", "16", "0.01"):
        assert taken(stack, f"SPOKE_{role}_CPUS", value)
    for value in ("", "0.001", "-1", "two", "1,5", "500m", "0.0", "1e3", "50%", "٢", "1\n"):
        assert not taken(stack, f"SPOKE_{role}_CPUS", value)
    for value in ("0", "512M", "512m", "1.5g", "2GiB", "64mb", "6M", "8192k"):
        assert taken(stack, f"SPOKE_{role}_MEMORY", value)
    for value in ("", "512", "5M", "0M", "-1G", "much", "512 M", "50%", "1G\n"):
        assert not taken(stack, f"SPOKE_{role}_MEMORY", value)


@pytest.mark.parametrize("name", RANGES)
def test_a_number_beyond_its_bounds_is_refused_naming_them(stack: Stack, name: str) -> None:
    low, high = RANGES[name]
    for value in (str(low), str(high)):
        assert taken(stack, name, value)
    for value in (str(low - 1), str(high + 1), "9" * 5000):
        assert not taken(stack, name, value)
    assert str(high) in (expected(stack, stack.settings[name], str(high + 1)) or "")


def test_a_quorum_needs_a_sentinel_and_no_more_than_there_are(stack: Stack) -> None:
    assert [taken(stack, "SPOKE_SENTINEL_QUORUM", value) for value in ("0", "1", "3", "4")] == [False, True, True, False]


def test_the_bounds_of_a_number_that_the_server_reads_are_the_servers_own(stack: Stack) -> None:
    read = [each for each in stack.settings.values() if _reads_a_number(each)]
    assert len(read) >= 5
    for setting in read:
        low, high = RANGES[setting.name]
        assert [_serves(setting.name, value) for value in (low - 1, low, high, high + 1)] == [False, True, True, False]


def _reads_a_number(setting: Setting) -> bool:
    return (setting.default or "").isdecimal() and not _serves(setting.name, "no number")


def _serves(name: str, value: object) -> bool:
    try:
        ServerSettings.from_environment({"SPOKE_POSTGRES_URL": "postgresql://spoke@here:1/spoke", name: str(value)})
    except SettingsError:
        return False
    return True
