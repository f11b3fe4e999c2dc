"""What holds for every test: none is timed, and where SPOKECTL_TESTS_NO_SKIP is set (in CI), none may be skipped."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# Hypothesis fails an example that takes 200 ms: on a busy machine one fsync does.
settings.register_profile("unhurried", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


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
