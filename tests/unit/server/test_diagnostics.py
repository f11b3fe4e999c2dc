"""What protoc's words mean."""

from __future__ import annotations

import pytest

from spoke_server.protobuf.diagnostics import Diagnostic, defects, parse

FOLDER = "/tmp/x/pushed"
MISSING = f'{FOLDER}/a.proto:3:1: Import "m.proto" was not found or had errors.\n'


def words(output: str) -> list[str]:
    return [str(each) for each in defects(parse(output, FOLDER))]


def test_a_complaint_is_told_with_the_path_as_pushed() -> None:
    assert parse(f'{FOLDER}/d/a.proto:2:5: Expected ";".\n', FOLDER) == [Diagnostic("d/a.proto", 2, 5, 'Expected ";".')]


def test_warnings_other_files_and_the_logs_own_lines_are_left_out() -> None:
    output = (
        "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
        "W0000 00:00:1 1 parser.cc:659] No edition or syntax specified for the proto file: f.proto.\n"
        f"{FOLDER}/a.proto:1:1: warning: Import b.proto is unused.\n"
        "/tmp/x/dependencies/d.proto:1:1: Expected nothing.\n"
        "m.proto: File not found.\n"
    )
    assert parse(output, FOLDER) == []


@pytest.mark.parametrize(
    "message",
    [
        '"m.X" is not defined.',
        '"X" seems to be defined in "y.proto", which is not imported by "a.proto".  To use it here, please add it.',
        '"x.Y" is resolved to "p.x.Y", which is not defined. The innermost scope is searched first.',
        'Option "(m.o)" unknown. Ensure that your proto definition file imports the proto which defines the option.',
        '"x" is not a message type.',
        '"x" is not a type.',
    ],
)
def test_what_follows_from_a_missing_import_is_excused_only_with_one(message: str) -> None:
    line = f"{FOLDER}/a.proto:5:1: {message}\n"
    assert words(MISSING + line) == []
    assert words(line) == [f"a.proto:5:1: {message}"]
    assert words(MISSING + line.replace("a.proto:5", "b.proto:5")) == [f"b.proto:5:1: {message}"]


@pytest.mark.parametrize(
    "message",
    ['Expected ";".', "Missing field number.", 'Field number 2 has already been used in "a.M" by field "t".',
     '"x" is already defined in "a.M".', "Reached end of input in message definition (missing '}').",
     'Unrecognized syntax identifier "proto4".  This parser only recognizes "proto2" and "proto3".'],
)  # fmt: skip
def test_faults_of_the_file_itself_are_never_excused(message: str) -> None:
    assert words(MISSING + f"{FOLDER}/a.proto:5:1: {message}\n") == [f"a.proto:5:1: {message}"]


def test_each_fault_is_told_once() -> None:
    line = f'{FOLDER}/a.proto:5:1: Expected ";".\n'
    assert words(line + line) == ['a.proto:5:1: Expected ";".']
