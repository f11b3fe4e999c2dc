"""Files to push and files pulled: what is collected, and that nothing is written where it must not be."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spokectl.errors import Failed, Refused, UsageError
from spokectl.operations.proto_files import ProtoFile, collect, path_defect, write

LIMIT = 1 << 20


def lay_out(folder: Path, **contents: str) -> Path:
    for name, content in contents.items():
        place = folder / f"{name}.proto"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return folder


def collected(source: Path, path: str | None = None, limit_bytes: int = LIMIT) -> list[str]:
    return [file.path for file in collect(source, path=path, limit_bytes=limit_bytes)]


def refusal(source: Path, path: str | None = None, limit_bytes: int = LIMIT) -> str:
    with pytest.raises(UsageError) as caught:
        collect(source, path=path, limit_bytes=limit_bytes)
    assert caught.value.message.isprintable()
    return caught.value.code


def ignore(_: int) -> None:
    """Nobody listens."""


def test_a_folder_gives_its_proto_files_sorted_by_relative_path(tmp_path: Path) -> None:
    lay_out(tmp_path, **{"b": "", "a/z": "", "a/b/c": "", "Z": ""})
    (tmp_path / "a" / "notes.txt").write_text("no schema")
    (tmp_path / "folder.proto").mkdir()
    assert collected(tmp_path) == ["Z.proto", "a/b/c.proto", "a/z.proto", "b.proto"]


def test_one_file_goes_under_its_name_or_the_path_given(tmp_path: Path) -> None:
    lay_out(tmp_path, **{"a/x": "text"})
    assert collected(tmp_path / "a" / "x.proto") == ["x.proto"]
    assert collected(tmp_path / "a" / "x.proto", path="v1/y.proto") == ["v1/y.proto"]
    assert refusal(tmp_path / "a" / "x.proto", path="../y.proto") == "bad_path"
    assert refusal(tmp_path / "a" / "x.proto", path="") == "bad_path"


def test_text_is_kept_as_it_is_on_disk(tmp_path: Path) -> None:
    raw = "\ufeffä\r\n\r\x00 no line break at the end".encode()
    (tmp_path / "x.proto").write_bytes(raw)
    (file,) = collect(tmp_path, path=None, limit_bytes=LIMIT)
    assert (file.content.encode(), file.size_bytes) == (raw, len(raw))


def test_links_inside_the_folder_are_followed_and_loops_end(tmp_path: Path) -> None:
    lay_out(tmp_path, **{"real/x": "x"})
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "alias.proto").symlink_to("real/x.proto")
    (tmp_path / "real" / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "here").symlink_to(".")
    assert collected(tmp_path) == ["again/x.proto", "alias.proto", "real/x.proto"]


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    outside = lay_out(tmp_path / "outside", secret="x")
    for name, goal in (("x.proto", outside / "secret.proto"), ("folder", outside)):
        inside = lay_out(tmp_path / f"inside-{name}", y="y")
        (inside / name).symlink_to(goal)
        assert refusal(inside) == "link_leaves_folder"


def test_a_proto_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    for name, goal in (("gone", "nowhere"), ("loop", "x.proto")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.proto").symlink_to(goal)
        assert refusal(tmp_path / name) == "bad_link"


def test_what_cannot_be_pushed_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == "no_files"
    assert refusal(tmp_path / "nowhere\x1b[31m") == "no_such_file"
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "x.proto")
    assert refusal(tmp_path / "pipe") == "not_a_file"
    lay_out(tmp_path / "large", a="x" * 60, b="x" * 60)
    assert refusal(tmp_path / "large", limit_bytes=100) == "too_large"
    assert refusal(tmp_path / "large", path="x") == "bad_value"
    lay_out(tmp_path / "odd", **{"a\x1b[31m": ""})
    assert refusal(tmp_path / "odd") == "bad_path"
    (tmp_path / "bytes").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "bytes") + b"/\xff.proto")).write_text("")
    assert refusal(tmp_path / "bytes") == "bad_path"


def test_a_file_that_is_not_utf8_is_named_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "latin.proto").write_bytes(b"line\n// gr\xfc\xdfe\n")
    with pytest.raises(UsageError, match=r"latin\.proto is not UTF-8: .* at byte 10, line 2") as caught:
        collect(tmp_path, path=None, limit_bytes=LIMIT)
    assert caught.value.details["line"] == 2


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "..", "../x", "a/../x", "a//b", "a/", "./a", "a\\b", "a\x00b", "a\nb", "\udcff", "x" * 513]
)
def test_a_path_that_could_leave_its_folder_is_neither_pushed_nor_written(path: str, tmp_path: Path) -> None:
    assert path_defect(path) is not None
    target = tmp_path / "target"
    with pytest.raises(Failed) as caught:
        write([ProtoFile("good.proto", ""), ProtoFile(path, "bad")], target, force=True, report=ignore)
    assert caught.value.code == "unsafe_path"
    assert caught.value.message.isprintable()
    assert list(tmp_path.iterdir()) == []


@given(st.text(alphabet=st.sampled_from("ab./\\\0\n "), max_size=12))
def test_a_path_without_defect_stays_inside(path: str) -> None:
    if path_defect(path) is None:
        assert os.path.normpath("/root/" + path) == "/root/" + path


@pytest.mark.parametrize("paths", [["a", "a/b"], ["a/b/c", "a/b"], ["a", "a"]])
def test_paths_that_cannot_all_be_files_are_refused(paths: list[str], tmp_path: Path) -> None:
    with pytest.raises(Failed, match="nothing was written"):
        write([ProtoFile(path, "") for path in paths], tmp_path / "x", force=True, report=ignore)
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_appears_with_its_parents_and_counts_its_files(tmp_path: Path) -> None:
    counted: list[int] = []
    target = tmp_path / "deep" / "down"
    files = [ProtoFile("a/x.proto", "x\r\n"), ProtoFile("y.proto", "ü")]
    assert write(files, target, force=False, report=counted.append) == 2
    assert (target / "a" / "x.proto").read_bytes() == b"x\r\n"
    assert (target / "y.proto").read_bytes() == "ü".encode()
    assert counted == [1, 2]
    assert [each.name for each in tmp_path.iterdir()] == ["deep"]
    assert [each.name for each in target.parent.iterdir()] == ["down"]


def test_files_that_are_there_and_equal_are_left_alone_and_others_stay(tmp_path: Path) -> None:
    lay_out(tmp_path, same="same", mine="mine")
    before = (tmp_path / "same.proto").stat().st_ino
    files = [ProtoFile("same.proto", "same"), ProtoFile("new/n.proto", "n")]
    assert write(files, tmp_path, force=False, report=ignore) == 1
    assert (tmp_path / "same.proto").stat().st_ino == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine.proto", "new", "same.proto"]


def test_a_different_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    lay_out(tmp_path, **{f"f{number}": "old" for number in range(7)})
    files = [ProtoFile(f"f{number}.proto", "new") for number in range(7)] + [ProtoFile("extra.proto", "")]
    with pytest.raises(Refused, match=r"f0\.proto, .*, f4\.proto and 2 more; nothing was written"):
        write(files, tmp_path, force=False, report=ignore)
    assert not (tmp_path / "extra.proto").exists()
    assert write(files, tmp_path, force=True, report=ignore) == 8
    assert (tmp_path / "f6.proto").read_text() == "new"


def test_a_link_in_place_of_a_file_is_replaced_itself_never_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    target = tmp_path / "target"
    target.mkdir()
    (target / "x.proto").symlink_to(tmp_path / "precious")
    with pytest.raises(Refused):
        write([ProtoFile("x.proto", "new")], target, force=False, report=ignore)
    write([ProtoFile("x.proto", "new")], target, force=True, report=ignore)
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (target / "x.proto").is_symlink()


def test_what_is_no_file_or_leads_out_is_never_replaced(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    target = tmp_path / "target"
    (target / "folder.proto").mkdir(parents=True)
    (target / "file").write_text("")
    (target / "out").symlink_to(outside)
    for path in ("folder.proto", "file/x.proto", "out/x.proto"):
        with pytest.raises(Refused) as caught:
            write([ProtoFile(path, "new")], target, force=True, report=ignore)
        assert caught.value.code == "in_the_way"
    with pytest.raises(Refused, match="is not a folder"):
        write([ProtoFile("x.proto", "")], target / "file", force=True, report=ignore)
    assert list(outside.iterdir()) == []


def test_a_failure_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    def full(count: int) -> None:
        if count == 2:
            raise OSError(28, "No space left on device")

    for target in (tmp_path / "new", lay_out(tmp_path / "old", a="old")):
        with pytest.raises(OSError, match="No space left"):
            write([ProtoFile(f"{name}.proto", "new") for name in "abc"], target, force=True, report=full)
    assert [each.name for each in tmp_path.iterdir()] == ["old"]
    assert {each.name: each.read_text() for each in (tmp_path / "old").iterdir()} == {"a.proto": "old"}
