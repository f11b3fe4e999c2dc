import subprocess
import sys
from pathlib import Path

import pytest

from spokectl.runtime.local.launcher import Launch, render
from spokectl.wait import Deadline, wait_until


def launch(tmp_path: Path, script: str, **given: object) -> Launch:
    entry = tmp_path / "run"
    entry.write_text(script)
    values: dict[str, object] = {
        "service": "one",
        "entry": entry,
        "words": (),
        "environment": {"PATH": "/usr/bin:/bin"},
        "log_file": tmp_path / "log file",
        "pid_file": tmp_path / "pid file",
        "failure_file": tmp_path / "failed",
        "restart": "unless-stopped",
    }
    return Launch(**(values | given))  # type: ignore[arg-type]  # test values by name


def run(found: Launch, shell: str = "/bin/sh") -> tuple[int, str]:
    """The exit code, and what the entry script wrote."""
    done = subprocess.run([shell, "-c", render(found).text], capture_output=True, text=True, timeout=60, env={})
    assert (done.stdout, done.stderr) == ("", "")
    return done.returncode, found.log_file.read_text()


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_the_entry_script_gets_environment_and_words_unchanged(tmp_path: Path, shell: str) -> None:
    odd = "a b'c\"d$HOME `id` \\ \n %s ü ;#"
    found = launch(tmp_path, 'printf "%s|%s" "$ODD" "$1"', environment={"ODD": odd}, words=(odd,))
    assert run(found, shell) == (0, f"{odd}|{odd}")


def test_secrets_never_stand_in_arguments(tmp_path: Path) -> None:
    text = render(launch(tmp_path, "", environment={"SPOKE_REDIS_PASSWORD": "hush"})).text
    lines = [line for line in text.splitlines() if "hush" in line]
    assert lines == ["export SPOKE_REDIS_PASSWORD=hush"]


def test_the_pid_file_names_the_process_and_the_launcher(tmp_path: Path) -> None:
    found = launch(tmp_path, "echo $$")
    _, own_pid = run(found)
    assert found.pid_file.read_text().split() == [own_pid.strip(), render(found).digest]


def test_another_description_is_another_launcher(tmp_path: Path) -> None:
    plain = launch(tmp_path, "")
    variants = [
        launch(tmp_path, "", words=("x",)),
        launch(tmp_path, "", environment={"PATH": "/bin"}),
        launch(tmp_path, "", restart="on-failure"),
        launch(tmp_path, "", supervision="stopwaitsecs = 5"),
    ]
    digests = [render(each).digest for each in [plain, *variants]]
    assert len(set(digests)) == len(digests)
    assert render(plain) == render(launch(tmp_path, ""))


def test_an_unimportant_variable_changes_the_text_but_not_the_launcher(tmp_path: Path) -> None:
    one = render(launch(tmp_path, "", environment={"SPOKE_ADDRESSES": "1"}, unimportant=("SPOKE_ADDRESSES",)))
    two = render(launch(tmp_path, "", environment={"SPOKE_ADDRESSES": "2"}, unimportant=("SPOKE_ADDRESSES",)))
    assert one.digest == two.digest
    assert one.text != two.text


def test_a_variable_that_a_shell_cannot_export_does_not_stop_the_service(tmp_path: Path) -> None:
    assert run(launch(tmp_path, "echo up", environment={"not-a-name": "x"})) == (0, "up\n")


def test_a_job_that_succeeds_is_not_run_again(tmp_path: Path) -> None:
    assert run(launch(tmp_path, "echo ran", restart="on-failure")) == (0, "ran\n")


def test_a_job_without_tries_left_ends_with_its_exit_code(tmp_path: Path) -> None:
    assert run(launch(tmp_path, "echo ran; exit 7", restart="on-failure:0")) == (7, "ran\n")


def test_a_job_notes_its_failure_while_it_waits_for_the_next_try(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    script = f'[ ! -e "{marker}" ] || {{ cat "{tmp_path}/seen"; exit 0; }}; : >"{marker}"; exit 7'
    sleep = tmp_path / "bin" / "sleep"
    sleep.parent.mkdir()
    sleep.write_text(f'#!/bin/sh\ncp "{tmp_path}/failed" "{tmp_path}/seen"\n')
    sleep.chmod(0o755)
    found = launch(tmp_path, script, restart="on-failure:3", environment={"PATH": f"{sleep.parent}:/usr/bin:/bin"})
    assert run(found) == (0, "7\n")
    assert not (tmp_path / "failed").exists()


def test_what_a_killed_predecessor_left_of_its_group_is_killed_first(tmp_path: Path) -> None:
    orphan = f"{sys.executable} -c 'import signal; signal.pause()'"
    leader = subprocess.run(
        ["/bin/sh", "-c", f"{orphan} >&- 2>&- & echo $$ $!"],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    group, member = map(int, leader.stdout.split())
    found = launch(tmp_path, f"kill -0 {member} || echo gone")
    found.pid_file.write_text(f"{group} 0\n")
    try:
        # The system may take a moment to bury it.
        wait_until(lambda: None if "gone" in run(found)[1] else "still alive", Deadline(30), what="the end of the leftover")
    finally:
        subprocess.run(["/bin/kill", "-9", str(member)], capture_output=True)


def test_a_server_whose_predecessor_looks_after_itself_is_not_swept(tmp_path: Path) -> None:
    assert "kill" not in render(launch(tmp_path, "", sweeps=False)).text
