"""No secret goes into a report, however it is written there."""

import json
import shlex
from urllib.parse import quote

import pytest

from spokectl.operations.report.gather import LOG_BYTES, environment, last_of
from spokectl.operations.report.redaction import Redaction, named_secrets, secrets_in, secrets_in_document

CANARY = 'can"ary $1\\ ü/é'


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        json.dumps({"a": CANARY}),
        json.dumps({"a": CANARY}, ensure_ascii=False),
        json.dumps({"log": json.dumps({"a": CANARY})}),
        shlex.quote(CANARY),
        quote(CANARY, safe=""),
        f"postgresql://spoke:{quote(CANARY, safe='')}@host/db",
    ],
)
def test_a_known_secret_is_replaced_however_it_is_written(written: str) -> None:
    text, count = Redaction([CANARY]).text(f"before {written} after")
    assert "ary" not in text
    assert count == 1
    assert text.startswith("before ")
    assert text.endswith(" after")


def test_the_longer_of_two_secrets_is_replaced_whole() -> None:
    assert Redaction(["secret", "secret-long"]).text("secret-long secret") == ("******** ********", 2)


def test_a_very_short_secret_is_replaced_where_it_stands_alone() -> None:
    assert Redaction(["ab"]).text("ab cab 'ab' abc") == ("******** cab '********' abc", 2)


@pytest.mark.parametrize("nothing", ["", " ", "\n"])
def test_an_empty_secret_replaces_nothing(nothing: str) -> None:
    assert Redaction([nothing]).text("a b\nc") == ("a b\nc", 0)


@pytest.mark.parametrize(
    ("text", "expected", "count"),
    [
        ("see redis://user:hunter2@host:6379/0", "see redis://user:********@host:6379/0", 1),
        ("see redis://:hunter2@host", "see redis://:********@host", 1),
        ("see http://host:8080/a@b", "see http://host:8080/a@b", 0),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=******** psql", 1),
        ("- SPOKE_TOKEN_SALT=abcdefgh", "- SPOKE_TOKEN_SALT=********", 1),
        ('- "X_PASSWORD=two words"', '- "X_PASSWORD=********"', 1),
        ("- 'X_PASSWORD=two \"words' # why", "- 'X_PASSWORD=********' # why", 1),
        ('X_PASSWORD: "two words"', 'X_PASSWORD: "********"', 1),
        ("{A_PASSWORD: x, B_TOKENS: y}", "{A_PASSWORD: ********, B_TOKENS: ********}", 2),
        ("secrets:\n  db:", "secrets:\n  db:", 0),
        ('- "X_PASSWORD=${X_PASSWORD:-********}"', '- "X_PASSWORD=${X_PASSWORD:-********}"', 0),
        ("password=hunter2, user=a", "password=********, user=a", 1),
        ('"secret_key": "hunter2"', '"secret_key": "********"', 1),
        ("password authentication failed for user a", "password authentication failed for user a", 0),
        ("X_PASSWORD: ${X_PASSWORD:-********}", "X_PASSWORD: ${X_PASSWORD:-********}", 0),
        ("u: postgresql://${U:-spoke}@a:1,b:2/${D:-spoke}", "u: postgresql://${U:-spoke}@a:1,b:2/${D:-spoke}", 0),
    ],
)
def test_what_looks_like_a_secret_is_replaced(text: str, expected: str, count: int) -> None:
    assert Redaction([]).text(text) == (expected, count)


def test_a_document_keeps_its_shape() -> None:
    document = {"a": ["x hunter2", 7, None, True], "SPOKE_REDIS_PASSWORD": "unheard of", "token": "", "b": {"c": 2.5}}
    assert Redaction(["hunter2"]).document(document) == (
        {"a": ["x ********", 7, None, True], "SPOKE_REDIS_PASSWORD": "********", "token": "", "b": {"c": 2.5}},
        2,
    )


def test_secrets_are_found_by_the_names_of_settings() -> None:
    assert named_secrets({"A_PASSWORD": "x", "A_SECRET_KEY": "y", "A_TOKEN": "z", "A_PORT": "1", "B_TOKEN": ""}) == {
        "x",
        "y",
        "z",
    }
    assert secrets_in_document({"services": [{"environment": {"X_PASSWORD": "a", "X_PORT": "1"}}]}) == {"a"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SPOKE_X_PASSWORD=it's\n", {"it's"}),
        ("export SPOKE_X_PASSWORD='quoted'\n", {"quoted", "'quoted'"}),
        ("  X_SECRET_KEY: plain  \n  X_PORT: 7\n", {"plain"}),
        ("X: ${X_PASSWORD:-default}\n", {"default"}),
        ("X_PASSWORD: ${X_PASSWORD-default}\n", {"default"}),
        ("services: [\nX_PASSWORD: broken }\n", {"broken }", "broken"}),
        ("- SPOKE_TOKEN_SALT=abcdefgh\n", {"abcdefgh"}),
        ("X_PASSWORD: plain  # why\n", {"plain  # why", "plain"}),
        ("A_TOKEN=\nB_TOKEN=x\n", {"x"}),
        ("secrets:\n  db:\n    file: x\n", set()),
        ("X_PASSWORD: |-\n  below\nY: z\n", {"below"}),
        ("X_PASSWORD: ${OTHER:-default}  # why\n", {"default"}),
        ("X_PASSWORD: a$$b\n", {"a$$b", "a$b"}),
    ],
)
def test_secrets_are_found_in_files_that_cannot_be_parsed(text: str, expected: set[str]) -> None:
    assert secrets_in(text) == expected


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('- "X_PASSWORD=two words"', "two words"),
        ("- 'X_PASSWORD=two \"words'  # why", 'two "words'),
        ('- "X_PASSWORD=two \\"words"', 'two "words'),
        ('X_PASSWORD: "two # words"  # why', "two # words"),
        ("X_PASSWORD: 'it''s'", "it's"),
        ('"X_PASSWORD": "two words"', "two words"),
        ("environment: {A: b, X_PASSWORD: words}", "words"),
        ("environment: {X_PASSWORD: words,A: b}", "words"),
        ("x: {y: {X_PASSWORD: words}}  # why", "words"),
        ("  X_PASSWORD: words,\n", "words"),
        ('environment: ["A=b", "X_PASSWORD=two words"]', "two words"),
        ("environment: {X_PASSWORD: a, Y_SECRET: words}", "words"),
        ("export X_PASSWORD='two words' # why", "two words"),
    ],
)
def test_a_secret_ends_where_it_would_in_a_file_that_can_be_parsed(text: str, secret: str) -> None:
    """It is then known also where it stands alone, in a log."""
    assert secret in secrets_in(text)
    assert secret not in Redaction(secrets_in(text)).text(f"{text}\nsaid {secret}.")[0]


def test_a_short_part_of_a_quoted_secret_is_none() -> None:
    assert secrets_in('{X_PASSWORD: "a, b # c"}') == {'"a, b # c"}', 'a, b # c"}', "a, b # c"}


def test_a_long_word_costs_no_more_than_a_long_text() -> None:
    """It had taken the square of that: minutes for a log of one line."""
    assert Redaction([]).text("x" * LOG_BYTES) == ("x" * LOG_BYTES, 0)
    assert secrets_in("x" * LOG_BYTES) == set()


def test_a_long_log_ends_with_whole_lines() -> None:
    text = "".join(f"{number:09}\n" for number in range(LOG_BYTES // 5))
    kept = last_of(text)
    assert len(kept) <= LOG_BYTES
    assert text.endswith(kept)
    assert len(kept.splitlines()[0]) == 9
    assert last_of("short\n") == "short\n"


def test_of_the_shell_only_variables_without_secrets_are_kept() -> None:
    """DOCKER_AUTH_CONFIG holds what registries are logged in to with: a prefix had let it through."""
    kept = {"DOCKER_CONTEXT": "far", "COMPOSE_FILE": "a.yml", "SPOKE_BIND": "::1", "LC_ALL": "C", "no_proxy": "a,.b"}
    others = {"DOCKER_AUTH_CONFIG": "canary", "COMPOSE_X": "canary", "HTTP_AUTH": "canary", "PATHS": "c", "TERMINAL": "c"}
    assert environment({**kept, **others}) == kept


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("http_proxy", "http://user:pa/ss@host:3128", "http://host:3128"),
        ("HTTPS_PROXY", "http://user:p@/s#?s@host:3128/canary?canary", "http://host:3128"),
        ("ALL_PROXY", "user:canary@host:3128", "host:3128"),
        ("all_proxy", "socks5h://host:1080/", "socks5h://host:1080"),
        ("HTTP_PROXY", "host:3128", "host:3128"),
        ("HTTP_PROXY", "http://[::1]:3128", "http://[::1]:3128"),
        ("HTTP_PROXY", "", ""),
        ("DOCKER_HOST", "unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("DOCKER_HOST", "ssh://user:can/ary@host", "ssh://host"),
    ],
)
def test_an_address_of_the_shell_is_without_user_and_password(name: str, value: str, shown: str) -> None:
    assert environment({name: value}) == {name: shown}
