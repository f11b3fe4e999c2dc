"""What may reach a terminal, and the order of versions."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoke_server.registry import version_sort_key
from spokectl.errors import UsageError
from spokectl.operations.registry import Target, hints, registry_url
from spokectl.printable import printable, quoted, shortened
from spokectl.settings import StackRecord, StackState
from spokectl.version_order import latest_of, version_key

VERSIONS = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "v1.2.0", "v1.10.0"]


def test_a_text_for_people_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[31m\n\r\t\x07\x7f\x9b") == r"a\x1b[31m\n\r\t\x07\x7f\x9b"
    assert printable("\u202eabc\u2028\ufeff\udcff") == r"\u202eabc\u2028\ufeff\udcff"
    assert printable("größer 語 👩\u200d🔬 \u00a0") == "größer 語 👩\u200d🔬 \u00a0"


@given(st.text())
def test_escaping_again_changes_nothing_and_every_line_is_one(text: str) -> None:
    once = printable(text)
    assert printable(once) == once
    assert len(once.splitlines()) <= 1
    once.encode()


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
    assert quoted("x\n" * 100, 5) == "'x\\nx\\n…'"


def test_versions_are_ordered_as_semver_says() -> None:
    shuffled = random.Random(5).sample(VERSIONS, len(VERSIONS))
    assert sorted(shuffled, key=version_key) == VERSIONS
    assert latest_of(["main-2026-11-23", "v0.0.1", "v9"]) == "v0.0.1"
    assert latest_of([]) is None


_numbers = st.integers(0, 12).map(str)
_semver = st.builds("{}{}.{}.{}{}".format, st.sampled_from(["", "v"]), _numbers, _numbers, _numbers, st.sampled_from(
    ["", "-rc1", "-rc.1", "-rc.10", "-rc.9", "-alpha", "-alpha.beta", "-1", "+build", "-a-b", "-a.", "-01"]
))  # fmt: skip
_other = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,8}", fullmatch=True)


@given(_semver | _other, _semver | _other)
def test_the_order_is_the_servers(one: str, other: str) -> None:
    ours = (version_key(one) > version_key(other)) - (version_key(one) < version_key(other))
    theirs = (version_sort_key(one) > version_sort_key(other)) - (version_sort_key(one) < version_sort_key(other))
    assert ours == theirs


def target(url: str | None) -> Target:
    return Target("spoke", None, url, 1.0, print, print)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://spoke.example/registry/", "http://[::1]:8080"])
def test_an_address_is_taken_as_it_is(url: str) -> None:
    assert registry_url(target(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "file:///etc/passwd",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://a b",
        "http://host/\x1b[31m",
        "http://host/?q=1",
        "http://host/#f",
        "http://me:secret@host",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry_url(target(url))
    assert caught.value.code == "bad_url"
    assert "secret" not in caught.value.message
    assert caught.value.message.isprintable()


def test_the_stacks_registry_is_its_load_balancer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stack.yml"
    file.write_text(
        "services:\n"
        "  front:\n"
        "    labels: {spokectl.kind: load-balancer, spokectl.role: load-balancer, spokectl.health: 'http:8080/status'}\n"
        "    ports: ['0.0.0.0:${SPOKE_FRONT_PORT:-18080}:8080']\n"
    )
    monkeypatch.setenv("SPOKECTL_STATE_DIR", str(tmp_path / "state"))
    state = StackState("one")
    state.ensure()
    state.write_record(StackRecord("local", str(file), "2026-01-01T00:00:00+00:00"))
    assert registry_url(Target("one", file, None, 1.0, print, print)) == "http://127.0.0.1:18080"


def test_a_hint_is_added_by_the_registrys_own_code() -> None:
    for code, actions in (("known", ("do this",)), ("other", ())):
        with pytest.raises(UsageError) as caught, hints(known="do this"):
            raise UsageError("bad_value", "no", details={"code": code})
        assert caught.value.actions == actions
