"""What NGINX and its entry script say, as values. No server runs here."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spokectl.errors import ExitCode, OutcomeUnknown
from spokectl.model import Health, Inspection, RunState
from spokectl.operations import lb
from spokectl.operations.balancer import (
    ConfigurationTest,
    Loaded,
    addresses_in,
    names_of,
    read_test,
    take_over_changes,
    wait_for_new_workers,
)
from spokectl.operations.context import Context
from spokectl.operations.lb import StatusPage, Upstream, complaint, failed_lately, read_page, upstreams_of
from spokectl.settings import StackState
from spokectl.stackfile import default_stack_file, load_stack
from spokectl.wait import Deadline
from tests.unit.test_readiness import SeenRuntime

STACK = load_stack("second", [default_stack_file()], shell={}, env_file={})
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)

UPSTREAMS = """resolver 127.0.0.11 valid=1s ipv6=off;
upstream spoke {
    zone spoke 256k;
    least_conn;
    server spoke-1:8080 resolve max_fails=1 fail_timeout=1s;
    server spoke-1:8080 resolve max_fails=0 backup;
    server 127.0.0.1:8082 max_fails=1 fail_timeout=1s;
    server 127.0.0.1:8082 max_fails=0 backup;
    server elsewhere:8080;
}
upstream spoke_health {
    server spoke-3:9090 resolve max_fails=1 fail_timeout=1s;
}
"""


@pytest.mark.parametrize(
    ("said", "line", "expected"),
    [
        (
            '2026/11/28 19:02:25 [emerg] 9199#9199: invalid value "perhaps" in nginx.conf:16\n'
            "nginx: configuration file nginx.conf test failed\n",
            "    server_tokens perhaps;\n",
            ConfigurationTest("nginx", False, 'invalid value "perhaps"', "nginx.conf", 16, "server_tokens perhaps;"),
        ),
        (
            'nginx: [emerg] host not found in upstream "a:1" in upstreams.conf:3\n',
            "server a:1;",
            ConfigurationTest("nginx", False, 'host not found in upstream "a:1"', "upstreams.conf", 3, "server a:1;"),
        ),
        (
            '2026/11/28 19:02:27 [emerg] 9#9: ReferenceError: Cannot load module "x.js"\nnginx: configuration test failed\n',
            "",
            ConfigurationTest("nginx", False, 'ReferenceError: Cannot load module "x.js"'),
        ),
        (
            "2026-11-28T19:00:00Z nginx: SPOKE_BACKENDS: 'spoke' is not host:port\n",
            "",
            ConfigurationTest("nginx", False, "SPOKE_BACKENDS: 'spoke' is not host:port"),
        ),
        ("", "", ConfigurationTest("nginx", False, "it says nothing")),
    ],
)
def test_a_failed_test_says_what_is_wrong_and_where(said: str, line: str, expected: ConfigurationTest) -> None:
    assert read_test("nginx", False, said, line) == expected
    assert expected.text in complaint(expected)
    assert read_test("nginx", True, said, line).ok


def test_the_addresses_in_use_are_those_of_the_api_each_once() -> None:
    assert addresses_in(UPSTREAMS) == ("spoke-1:8080", "127.0.0.1:8082", "elsewhere:8080")
    assert addresses_in("") == ()


def test_a_spoke_is_known_by_its_name_in_a_container_and_by_its_published_address() -> None:
    names = names_of(STACK)
    assert names["spoke-1:8080"] == names["127.0.0.1:8081"] == "spoke-1"
    everywhere = load_stack("second", [default_stack_file()], shell={"SPOKE_BIND": "0.0.0.0"}, env_file={})
    assert names_of(everywhere)["127.0.0.1:8083"] == "spoke-3"


def test_the_status_page_is_read_without_the_request_that_asks_for_it() -> None:
    body = (
        "Active connections: 4 \nserver accepts handled requests\n 3129 3129 3200 \nReading: 0 Writing: 4 Waiting: 0 \n"
        "upstream spoke-1 requests 2112 failed 3\nupstream 10.0.0.3:8080 requests 1 failed 1\n"
    )
    page = read_page(body, "nginx/1.31.3")
    assert page == StatusPage("1.31.3", 3, 3129, 3200, {"spoke-1": (2112, 3), "10.0.0.3:8080": (1, 1)})
    with pytest.raises(ValueError, match="no status page"):
        read_page('[{"name": "a"}]', "")


def failed_try(names: str, statuses: str, ago_s: float) -> str:
    moment = (NOW - timedelta(seconds=ago_s)).isoformat(timespec="milliseconds")
    return f'{moment} [warn] instance "{names}" answered "{statuses}" at "…" after "0.1" s; client was sent 201'


def test_tries_that_failed_lately_are_counted_for_the_instance_that_failed() -> None:
    lines = [
        failed_try("spoke-1, spoke-2", "502, 201", 10),
        failed_try("spoke-3, spoke-1, spoke-2", "504, 502, 200", 290),
        failed_try("spoke-2", "504", 20),
        failed_try("spoke-3, spoke-2", "-, 200", 30),
        failed_try("spoke-2", "502", 301),
        "2026/11/28 12:00:00 [error] 7#7: *1 connect() failed",
        'yesterday [warn] instance "spoke-2" answered "502" at',
    ]
    assert failed_lately(lines, NOW - timedelta(minutes=5)) == {"spoke-1": 2, "spoke-3": 2, "spoke-2": 1}


def upstreams(inside: Loaded | None, **unready: str) -> list[Upstream]:
    healths = {
        spoke: Health(spoke, ok=spoke not in unready, reason=unready.get(spoke, ""))
        for spoke in ("spoke-1", "spoke-2", "spoke-3")
    }
    return upstreams_of(STACK, healths, StatusPage("1", 0, 0, 9, {"spoke-1": (7, 2)}), inside, NOW)


def test_every_spoke_and_every_address_in_use_has_a_row() -> None:
    rows = upstreams(Loaded((7, 8), addresses_in(UPSTREAMS), (failed_try("spoke-1", "502", 1),)))
    assert [(row.service, row.address, row.in_use, row.ready) for row in rows] == [
        ("spoke-1", "spoke-1:8080", True, True),
        ("spoke-2", "127.0.0.1:8082", True, True),
        ("spoke-3", "127.0.0.1:8083", False, True),
        ("elsewhere:8080", "elsewhere:8080", True, False),
    ]
    assert (rows[0].requests, rows[0].failed, rows[0].failed_lately) == (7, 2, 1)
    assert (rows[1].requests, rows[1].failed, rows[1].failed_lately) == (0, 0, 0)
    # Of an NGINX that cannot be asked it is not known.
    assert {row.in_use for row in upstreams(None)} == {None}


ALL = Loaded((7,), ("spoke-1:8080", "spoke-2:8080", "spoke-3:8080"), ())


@pytest.mark.parametrize(
    ("state", "reason", "rows", "unwell", "action"),
    [
        ("running", "", upstreams(ALL), "", ""),
        ("running", "", upstreams(ALL, **{"spoke-2": "refused"}), "spoke-2: refused", "status"),
        ("running", "", upstreams(replace(ALL, addresses=ALL.addresses[:2])), "spoke-3: nginx does not use it", "up"),
        ("paused", "paused", upstreams(None), "nginx: paused", "unpause nginx"),
        ("stopped", "stopped", upstreams(None), "nginx: stopped", "start nginx"),
        ("running", "no answer", upstreams(ALL), "nginx: no answer", "logs nginx"),
    ],
)
def test_what_is_not_well_is_said_with_what_to_type(
    state: str, reason: str, rows: list[Upstream], unwell: str, action: str
) -> None:
    data = lb.BalancerStatus("nginx", state, reason, "", "", None, [], None, None, None, 5, rows)
    result = lb.judged_balancer("second", data, ("a warning",))
    assert result.warnings == ("a warning",)
    if not unwell:
        assert (result.exit_code, result.error) == (ExitCode.OK, None)
        return
    assert result.error is not None
    assert result.exit_code == result.error.exit_code == ExitCode.DEGRADED
    assert result.error.message == f"not everything is well: {unwell}"
    assert result.error.actions[0] == f"spokectl {action} --stack second"


def nginx(tmp_path: Path, *pids: str, says: str = "") -> Context:
    """A running NGINX whose shell, asked again and again, names its workers as the lines of `pids` say."""
    script = tmp_path / "script"
    (tmp_path / "pids").write_text("\n".join(pids) + "\n")
    script.write_text(
        f'cd "{tmp_path}"; head -n 1 pids; [ "$(wc -l <pids)" -eq 1 ] || {{ tail -n +2 pids >rest; mv rest pids; }}\n'
        f"[ -e asked ] || printf '%s\\n' '{says}' >&2; touch asked\n"
    )
    seen = {name: Inspection(name, RunState.RUNNING) for name in STACK.services}
    runtime = SeenRuntime([seen], programs={"nginx": ("sh", str(script))})
    return Context(STACK, StackState("second", tmp_path), runtime)


def test_a_reload_is_over_when_no_worker_from_before_is_left(tmp_path: Path) -> None:
    context = nginx(tmp_path, "7 8", "7 8 9 10", "", "8 9", "9 10")
    assert wait_for_new_workers(context, "nginx", (7, 8), Deadline(60)) == (9, 10)
    with pytest.raises(OutcomeUnknown, match="workers 9 still have"):
        wait_for_new_workers(context, "nginx", (8, 9), Deadline(0))


def test_only_a_server_that_had_something_to_take_over_is_waited_for(tmp_path: Path) -> None:
    for folder, says, expected in (("a", "2026Z nginx: reloaded: spoke-1:8080", ["nginx"]), ("b", "", [])):
        (tmp_path / folder).mkdir()
        context = nginx(tmp_path / folder, "7 8", "7 9", "9 10", says=says)
        assert take_over_changes(context, Deadline(60)) == expected
        # Asked once only, where nothing was reloaded; else until 7 and 8 are gone.
        assert (tmp_path / folder / "pids").read_text() == ("9 10\n" if expected else "7 9\n9 10\n")
