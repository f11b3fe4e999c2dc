import pytest

from spokectl.interpolation import InterpolationError, interpolate

VALUES = {"SET": "value", "EMPTY": "", "OTHER": "other"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$SET", "value"),
        ("${SET}", "value"),
        ("a${SET}b$OTHER.", "avaluebother."),
        ("${UNSET}", ""),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${SET:-default}", "value"),
        ("${UNSET:-${OTHER}}", "other"),
        ("${UNSET:-${ALSO_UNSET:-deep}}", "deep"),
        ("${UNSET:-}", ""),
        ("${SET:?must be set}", "value"),
        ("${EMPTY?must be set}", ""),
        ("${SET:+yes}", "yes"),
        ("${EMPTY:+yes}", ""),
        ("${EMPTY+yes}", "yes"),
        ("${UNSET+yes}", ""),
        ("$$SET costs $$5", "$SET costs $5"),
        ("a } b", "a } b"),
    ],
)
def test_variables_are_replaced_as_compose_replaces_them(text: str, expected: str) -> None:
    assert interpolate(text, lambda name, _: VALUES.get(name)) == expected


@pytest.mark.parametrize("text", ["${", "${SET", "${1}", "$", "${SET!x}", "${UNSET:?}", "${EMPTY:?gone}", "a $ b"])
def test_what_cannot_be_replaced_is_refused(text: str) -> None:
    with pytest.raises(InterpolationError):
        interpolate(text, lambda name, _: VALUES.get(name))


def test_the_lookup_learns_the_default() -> None:
    seen: dict[str, str | None] = {}
    interpolate("${PORT:-5432} ${NAME}", seen.setdefault)
    assert seen == {"PORT": "5432", "NAME": None}
