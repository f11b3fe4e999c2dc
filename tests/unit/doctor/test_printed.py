"""What a person reads, compared whole."""

import pytest

from spokectl.operations.doctor.examine import Examined
from spokectl.operations.doctor.findings import Checked, Finding, Verdict, ok, problem, warning
from spokectl.operations.report import Part, Report
from spokectl.output.doctor import print_examined, print_report


def checked(group: str, name: str, *findings: Finding) -> Checked:
    return Checked(group, name, findings[0].verdict, findings)


UNREAD = Finding(Verdict.NOT_CHECKED, "the stack\ndoes not run")


def test_each_finding_has_a_line_and_what_is_not_ok_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [
        checked("machine", "disk", ok("/state: 9 GiB free")),
        checked(
            "stack",
            "ports",
            problem("8080 (nginx) is held by x\x1b[2J", "it cannot listen", "spokectl up", "or wait"),
            ok("a"),
        ),
        checked("stack", "slots", warning("kept", "", "look")),
        checked("servers", "services", UNREAD),
        checked("servers", "sentinels", UNREAD),
    ]
    print_examined(Examined("spoke", Verdict.PROBLEM, checks, ["removed /x"]))
    assert capsys.readouterr().out == (
        "mended: removed /x\n"
        "\n"
        "The machine\n"
        "✓ ok           disk            /state: 9 GiB free\n"
        "\n"
        "The stack\n"
        "✗ problem      ports           8080 (nginx) is held by x\\x1b[2J\n"
        "                                 why: it cannot listen\n"
        "                                 try: spokectl up\n"
        "                                 try: or wait\n"
        "✓ ok           ports           a\n"
        "! warning      slots           kept\n"
        "                                 try: look\n"
        "\n"
        "Its servers\n"
        "– not checked  services        the stack does not run\n"
        "– not checked  sentinels       as above\n"
    )


def test_a_report_says_what_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(Report("/tmp/r.tar.gz", 2048, 3, [Part("a.json", 10, 3), Part("errors.txt", 0, 0)], []))
    assert capsys.readouterr().out == (
        "FILE        SIZE  SECRETS REPLACED\n"
        "a.json      10 B  3\n"
        "errors.txt  0 B   0\n"
        "\n"
        "/tmp/r.tar.gz: 2.0 KiB, 3 secrets replaced\n"
    )
