"""What holds for every test: none is timed, and where SPOKECTL_TESTS_NO_SKIP is set (in CI), none may be skipped.

`pytest -n 2` runs them in two processes. One of these has all tests that use the Docker engine, which there is once: they
bear the mark `docker`, and without it a test finds no engine. The other one takes file by file of the rest, and so does the
first one when it is through.
"""

import os
from collections.abc import Generator, Sequence

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis fails an example that takes 200 ms: on a busy machine one fsync does.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

_ENGINE = os.environ.get("DOCKER_HOST")
_LONGEST_NAME = 60
_NO_ENGINE = "unix:///nowhere/docker.sock"


def uses_the_engine(item: pytest.Item) -> bool:
    return item.get_closest_marker("docker") is not None


def pytest_make_parametrize_id(val: object) -> str | None:
    """A long text is named by its beginning: pytest puts the name into the environment of whatever a test starts."""
    if isinstance(val, (str, bytes)) and len(val) > _LONGEST_NAME:
        return f"{val[:_LONGEST_NAME]!r} and so on, {len(val)} in all"
    return None


# Before the plugin, which reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        for item in items:
            group = "docker" if uses_the_engine(item) else item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))
        # Groups are given out in this order, and the longest one comes first.
        items.sort(key=uses_the_engine, reverse=True)


def pytest_xdist_node_collection_finished(ids: Sequence[str]) -> None:
    """The plugin keeps groups at the end of the ids; with some releases of pytest it loses them without a word."""
    if not all("@" in each for each in ids):
        pytest.exit("pytest-xdist does not see the groups of tests: they can run in one process only (-n 0)", returncode=3)


# Before the fixtures of a module, too.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not uses_the_engine(item):
        os.environ["DOCKER_HOST"] = _NO_ENGINE
    elif _ENGINE is not None:
        os.environ["DOCKER_HOST"] = _ENGINE
    else:
        os.environ.pop("DOCKER_HOST", None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("SPOKECTL_TESTS_NO_SKIP"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"not run, and here that is a failure: {reason}"
    return report
