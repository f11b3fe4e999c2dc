"""What `versions diff` says of two versions: held against patches written by hand, and applied by git."""

import shutil
import subprocess
from pathlib import Path

import pytest

from spokectl.clients.registry_answers import File, Source, Version
from spokectl.operations.version_diff import compared


def version(name: str, dependencies: tuple[str, ...] = (), source: str = "", /, **contents: str) -> Version:
    files = tuple(File(f"{path}.proto", content) for path, content in contents.items())
    return Version("payments", name, "2026-11-23T05:41:04Z", None, dependencies, Source(repository=source), files)


def test_a_changed_line_is_shown_with_three_lines_around_it() -> None:
    before = "".join(f"{number}\n" for number in range(1, 12))
    found = compared(version("v1", a=before), version("v2", a=before.replace("6\n", "six\nsix\n")))
    assert (found.module, found.old, found.new, found.same) == ("payments", "v1", "v2", False)
    [file] = found.files
    assert (file.path, file.change, file.lines_added, file.lines_removed) == ("a.proto", "changed", 2, 1)
    assert file.diff.splitlines() == [
        *("diff --git a/a.proto b/a.proto", "--- a/a.proto", "+++ b/a.proto", "@@ -3,7 +3,8 @@"),
        *(" 3", " 4", " 5", "-6", "+six", "+six", " 7", " 8", " 9"),
    ]


def test_files_that_are_new_gone_or_empty_say_so() -> None:
    found = compared(version("v1", gone="old\n", same="s"), version("v2", same="s", new="one\ntwo", empty=""))
    assert [(each.path, each.change) for each in found.files] == [
        ("empty.proto", "added"),
        ("gone.proto", "removed"),
        ("new.proto", "added"),
    ]
    empty, gone, new = (each.diff for each in found.files)
    assert empty == "diff --git a/empty.proto b/empty.proto\nnew file mode 100644\n"
    assert gone.splitlines() == [
        *("diff --git a/gone.proto b/gone.proto", "deleted file mode 100644"),
        *("--- a/gone.proto", "+++ /dev/null", "@@ -1 +0,0 @@", "-old"),
    ]
    assert new.splitlines() == [
        *("diff --git a/new.proto b/new.proto", "new file mode 100644"),
        *("--- /dev/null", "+++ b/new.proto", "@@ -0,0 +1,2 @@", "+one", "+two", "\\ No newline at end of file"),
    ]


def test_what_it_needs_is_compared_and_where_it_comes_from_is_not() -> None:
    found = compared(
        version("v1", ("common@v1", "time@v1"), a="x"), version("v2", ("time@v1", "common@v2"), "elsewhere", a="x")
    )
    assert (found.files, found.dependencies_added, found.dependencies_removed) == ([], ["common@v2"], ["common@v1"])
    assert not found.same
    assert compared(version("v1", a="x"), version("v2", (), "elsewhere", a="x")).same


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": "a\nb\nc"}, {"a": "a\nb\nc\n"}),
        ({"a": "a\r\nb\r\n"}, {"a": "a\nb\r\n"}),
        ({"a": "a\x0bb\u2028c\x85d\ne\n"}, {"a": "a\x0bb\u2028c\x85D\ne\n"}),
        ({"a": ""}, {"a": "a"}),
        ({"a": "a"}, {"a": ""}),
        ({"a": "--- a\n+++ b\n@@ c\n"}, {"a": "--- b\n+++ b\n\n\n"}),
        (
            {"a": "".join(f"{line}\n" for line in range(100))},
            {"a": "".join(f"{line}\n" for line in range(100) if line % 17)},
        ),
        ({"a": "", "b/gone": "x"}, {"b/new": "", "c": "1\n", "größer and wider": "2"}),
    ],
)
def test_a_patch_applied_to_the_old_files_makes_the_new_ones(
    before: dict[str, str], after: dict[str, str], tmp_path: Path
) -> None:
    for path, content in before.items():
        place = tmp_path / f"{path}.proto"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content.encode())
    patch = "".join(each.diff for each in compared(version("v1", **before), version("v2", **after)).files)
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    subprocess.run(command, input=patch.encode(), cwd=tmp_path, check=True, timeout=60)
    there = {str(each.relative_to(tmp_path)): each.read_bytes() for each in tmp_path.rglob("*.proto")}
    assert there == {f"{path}.proto": content.encode() for path, content in after.items()}
