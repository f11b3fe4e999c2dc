"""The registry's rules."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoke_server import registry
from spoke_server.errors import ApiError
from spoke_server.registry import Dependency, File, NewVersion, content_digest, version_sort_key


@pytest.mark.parametrize("name", ["a", "user", "user-api_2", "google.api.expr", "a" * 255])
def test_names_of_modules_that_upstreams_clients_send_are_accepted(name: str) -> None:
    assert registry.check_module_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", ".a", "a/b", "a b", "ä", "a\n", "a\x00", "a" * 256, "../a"])
def test_other_names_of_modules_are_refused(name: str) -> None:
    with pytest.raises(ApiError) as refusal:
        registry.check_module_name(name)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_module_name")
    assert refusal.value.message.isprintable()


@pytest.mark.parametrize("version", ["1", "v1.0.0", "1.0.0-rc.1+build.5", "main-2026-11-23-07-00-1a2b3c4", "x" * 100])
def test_names_of_versions_that_upstreams_clients_send_are_accepted(version: str) -> None:
    assert registry.check_version_name(version) == version


@pytest.mark.parametrize("version", ["", "latest", "Latest", "-1", "+1", ".1", "1/2", "1 2", "x" * 101, "v1\n", "é"])
def test_other_names_of_versions_are_refused(version: str) -> None:
    with pytest.raises(ApiError) as refusal:
        registry.check_version_name(version)
    assert refusal.value.code == "invalid_version"


ASCENDING = [
    # What is not semantic is lower, by its numbers and texts.
    ["2026-01-02-03-04-05", "2026-01-02-03-04-06", "2026-01-10-03-04-05", "0.0.1"],
    ["v2", "v9", "v10", "0.0.1"],
    ["dev-2", "main-1", "v0.0.0-a"],
    # The order that semver.org gives as its example in section 11.
    ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
     "1.0.0"],
    ["1.0.0", "2.0.0", "2.1.0", "2.1.1", "2.10.0", "10.0.0", "100.0.0"],
    ["v1.9.0", "1.10.0", "v1.10.1"],
    ["1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-a", "1.0.0-a-b", "1.0.0-a1"],
    ["99999999999999999999.0.0", "100000000000000000000.0.0"],
]  # fmt: skip


@pytest.mark.parametrize("versions", ASCENDING)
def test_versions_are_in_the_order_of_semver(versions: list[str]) -> None:
    shuffled = random.Random(1).sample(versions, len(versions))
    assert sorted(shuffled, key=version_sort_key) == versions


def test_build_metadata_and_a_leading_v_do_not_count() -> None:
    assert version_sort_key("1.0.0+a") == version_sort_key("v1.0.0+b") == version_sort_key("1.0.0")


IDENTIFIER = st.one_of(
    st.integers(0, 10**12).map(str),
    st.from_regex(r"[0-9A-Za-z-]*[A-Za-z-][0-9A-Za-z-]*", fullmatch=True).map(lambda t: t[:9]),
).filter(bool)
SEMVER = st.tuples(*[st.integers(0, 10**6)] * 3, st.lists(IDENTIFIER, max_size=3))


def precedence(left: tuple[int, int, int, list[str]], right: tuple[int, int, int, list[str]]) -> int:
    """Compares as semver 2.0.0 section 11 says, rule by rule."""
    if left[:3] != right[:3]:
        return -1 if left[:3] < right[:3] else 1
    if bool(left[3]) != bool(right[3]):
        return -1 if left[3] else 1
    for one, two in zip(left[3], right[3], strict=False):
        if one.isdigit() and two.isdigit() and int(one) != int(two):
            return -1 if int(one) < int(two) else 1
        if one.isdigit() != two.isdigit():
            return -1 if one.isdigit() else 1
        if not one.isdigit() and one != two:
            return -1 if one < two else 1
    return (len(left[3]) > len(right[3])) - (len(left[3]) < len(right[3]))


def text_of(version: tuple[int, int, int, list[str]]) -> str:
    return "{}.{}.{}".format(*version[:3]) + ("-" + ".".join(version[3]) if version[3] else "")


@given(st.lists(SEMVER, min_size=2, max_size=8))
def test_the_sort_key_orders_any_semantic_versions_as_the_rules_do(versions: list[tuple[int, int, int, list[str]]]) -> None:
    by_rules = sorted(versions, key=functools.cmp_to_key(precedence))
    by_key = sorted(versions, key=lambda version: version_sort_key(text_of(version)))
    pairs = zip(by_rules, by_key, strict=True)
    assert all(precedence(one, two) == 0 for one, two in pairs)


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../a", "a/../b", "a/./b", "/a", "a//b", "a/", "a\\b", "a\x00", "a\nb", "a\x7f", "x" * 513, "y" * 256],
)
def test_paths_that_could_leave_the_folder_or_not_be_written_are_refused(path: str) -> None:
    with pytest.raises(ApiError) as refusal:
        registry.check_paths(["ok.proto", path])
    assert refusal.value.code == "invalid_path"


def test_a_path_twice_or_a_file_that_is_also_a_folder_is_refused() -> None:
    with pytest.raises(ApiError, match="twice"):
        registry.check_paths(["a.proto", "a.proto"])
    with pytest.raises(ApiError, match="both a file and the folder"):
        registry.check_paths(["a/b/c.proto", "a"])
    registry.check_paths(["a.proto", "a/b.proto", "..a", "a/..b", "A.proto"])


@pytest.mark.parametrize("text", ["", "a", "a@", "@v1", "a@v1@v2", "A@v1", "a@latest", "a@v/1", "a b@v1"])
def test_a_dependency_is_a_module_and_a_version(text: str) -> None:
    with pytest.raises(ApiError) as refusal:
        registry.parse_dependency(text)
    assert refusal.value.code == "invalid_dependency"


def test_a_dependency_reads_back_as_it_is_written() -> None:
    assert str(registry.parse_dependency("a.b@v1.0.0-rc1")) == "a.b@v1.0.0-rc1"


def test_content_is_the_same_in_any_order_and_differs_in_any_part() -> None:
    one, two = ("a", "1" * 64), ("b", "2" * 64)
    needs = [Dependency("m", "v1"), Dependency("n", "v1")]
    base = content_digest([one, two], needs)
    assert content_digest([two, one], [*reversed(needs), needs[0]]) == base
    others = [
        content_digest([one], needs),
        content_digest([one, ("b", "3" * 64)], needs),
        content_digest([one, ("c", "2" * 64)], needs),
        content_digest([one, two], needs[:1]),
        content_digest([one, two], []),
    ]
    assert len({base, *others}) == 6


def test_where_a_version_came_from_is_no_part_of_its_content() -> None:
    files = (File("a", "x"),)
    one = NewVersion("m", "v1", files)
    two = NewVersion("m", "v1", files, source=registry.SourceInfo("r", "c", "b"))
    assert one.file_hashes == two.file_hashes
