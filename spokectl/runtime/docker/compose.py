"""`docker compose` on the stack file: what creates, recreates and builds. Everything else is asked of the engine itself."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from spokectl.errors import Failed, OutcomeUnknown, Refused
from spokectl.model import Stack
from spokectl.runtime.base import Notice
from spokectl.settings import StackState, command_line
from spokectl.wait import Deadline

_VERSION_TIMEOUT_S = 30.0
_LAST_LINES = 12
# The engine's words for a registry that does not answer, has no such image, or gives it to others only.
_NOT_PULLED = re.compile(
    r"pull access denied|manifest unknown|No such image|failed to resolve reference|: Get \"?https?://\S+/v2/"
)
ELSEWHERE = "spokectl up --stack NAME --port-offset 1000  # another stack beside them"


class Compose:
    """Compose calls for one stack, with the files and settings that spokectl itself reads."""

    def __init__(self, stack: Stack, state: StackState, environ: Mapping[str, str]) -> None:
        self._stack = stack
        self._state = state
        self._environ = dict(environ) | {"SPOKE_STACK": stack.name}

    def require(self) -> None:
        """Refused (`no_compose`) unless `docker compose` is there and of version 2 or newer."""
        compose_version(self._environ)

    def hashes(self, deadline: Deadline, variables: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, str]:
        """Compose's digest of every service's description: a container made from another one is to be made anew.

        `variables`: what it would be with these environment variables of services.
        """
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as override:
            # Compose reads JSON as what it is, a kind of YAML.
            json.dump(
                {"services": {name: {"environment": dict(them)} for name, them in (variables or {}).items()}}, override
            )
            override.flush()
            more = ["--file", override.name] if variables else []
            lines = self._run([*more, "config", "--hash", "*"], deadline, "read the stack file").splitlines()
        return dict(pair for line in lines if len(pair := line.split()) == 2)

    def create_and_start(self, services: Sequence[str], deadline: Deadline) -> None:
        """Makes the services' containers where they are missing or changed, and starts them."""
        self._run(["up", "--detach", "--no-build", "--no-deps", *services], deadline, "start the containers")

    def build(self, services: Sequence[str], deadline: Deadline, progress: Notice) -> None:
        """Builds the images of the services. Refused (`image_build_failed`) with the last lines of the build."""
        with self._build_context() as context:
            environ = self._environ | ({"SPOKE_BUILD_CONTEXT": str(context)} if context else {})
            command = [*self._command(), "--progress", "plain", "build", *services]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environ
            ) as process:
                lines = self._followed(process, deadline, progress)
        if process.returncode != 0:
            raise Refused(
                "image_build_failed",
                "an image cannot be built:\n" + "\n".join(f"  {line}" for line in lines[-_LAST_LINES:]),
                actions=["make images  # where no image registry can be reached", self._again("up --build")],
            )

    def _followed(self, process: "subprocess.Popen[str]", deadline: Deadline, progress: Notice) -> list[str]:
        """The build's lines; the start of each step is said as it comes."""
        from threading import Timer

        lines: list[str] = []
        clock = Timer(deadline.remaining_s, process.kill)
        clock.start()
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            for line in process.stdout:
                text = line.rstrip()
                lines.append(text)
                if text.startswith("#") and "] " in text and not text.endswith("CACHED"):
                    progress(text.partition(" ")[2])
        finally:
            clock.cancel()
        process.wait()
        if deadline.passed:
            raise self._late("build the images", deadline)
        return lines

    @contextmanager
    def _build_context(self) -> Iterator[Path | None]:
        """A folder to build from, where the stack file lies in no checkout: an installed package has all parts of one."""
        folder = self._stack.folder
        if (folder.parent / folder.name / "images" / "Dockerfile").exists() and (folder.parent / "spoke_server").is_dir():
            yield None
            return
        import importlib.util

        server = importlib.util.find_spec("spoke_server")
        if server is None or server.origin is None or not (folder / "images" / "Dockerfile").exists():
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="spokectl-build-") as name:
            shutil.copytree(folder, Path(name) / "stack")
            shutil.copytree(
                Path(server.origin).parent, Path(name) / "spoke_server", ignore=shutil.ignore_patterns("__pycache__")
            )
            yield Path(name)

    def _run(self, words: Sequence[str], deadline: Deadline, doing: str) -> str:
        done = self._finished([*self._command(), *words], deadline, doing)
        if done.returncode == 0:
            return done.stdout
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise explained(lines, doing, self._again("up"))

    def _finished(
        self, command: Sequence[str], deadline: Deadline, doing: str = "answer"
    ) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                env=self._environ,
                timeout=max(deadline.remaining_s, 1.0),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._late(doing, deadline) from None

    def _command(self) -> list[str]:
        folder = self._stack.folder
        files = [word for file in self._stack.files for word in ("--file", str(file))]
        settings = [path for path in (folder / ".env", self._state.env_file) if path.exists()]
        envs = [word for path in settings for word in ("--env-file", str(path))]
        # Without a file of its own Compose would look for one beside the stack file, which has been read already.
        return ["docker", "compose", "--project-name", self._stack.name, *envs, *files]

    def _late(self, doing: str, deadline: Deadline) -> OutcomeUnknown:
        return OutcomeUnknown(
            "timeout",
            f"Compose did not {doing} within {deadline.timeout_s:g} s",
            actions=[self._again("status"), self._again("up --timeout 10m")],
            retryable=True,
        )

    def _again(self, words: str) -> str:
        return command_line(self._stack.name, words)


def explained(lines: Sequence[str], doing: str, again: str) -> Failed | Refused:
    """What Compose says, as an error of this tool's own where the cause is known."""
    text = "\n".join(lines)
    last = lines[-1] if lines else "it says nothing"
    if "port is already allocated" in text or "address already in use" in text:
        return Refused("port_taken", f"a port is taken: {last}", actions=[again], retryable=True)
    if "no space left on device" in text:
        return Refused("disk_full", f"the engine's disk is full: {last}", actions=["docker system df", again])
    if _NOT_PULLED.search(text):
        actions = ["make images  # where no image registry can be reached", f"{again} --build"]
        return Refused(
            "image_missing", f"an image is not here and cannot be pulled: {last}", actions=actions, retryable=True
        )
    if "Range of CPUs is from" in text:
        return Refused("too_many_cpus", f"a limit is beyond what the engine has: {last}", actions=[again])
    if "is already in use by container" in text:
        return Refused("foreign_container", last, actions=["docker ps -a", ELSEWHERE])
    return Failed("compose_failed", f"Compose could not {doing}: {last}", actions=[again])


def compose_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The shell's environment for Compose, without what would make it read other files or another project."""
    return {name: value for name, value in environ.items() if not name.startswith("COMPOSE_")}


def compose_version(environ: Mapping[str, str] = os.environ) -> str:
    """The version of the Compose plugin. Refused (`no_compose`) unless there is one, of version 2 or newer."""
    said = ""
    try:
        done = subprocess.run(
            ["docker", "compose", "version", "--short"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            env=dict(environ),
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
        said = done.stdout.strip().removeprefix("v")
        if done.returncode == 0 and int(said.split(".")[0]) >= 2:
            return said
        why = (done.stderr + done.stdout).strip().splitlines()[-1:] or ["it says nothing"]
    except FileNotFoundError:
        why = ["there is no program `docker` on PATH"]
    except subprocess.TimeoutExpired:
        why = [f"it does not say its version within {_VERSION_TIMEOUT_S:g} s"]
    except ValueError:
        why = [said]
    raise Refused(
        "no_compose",
        f"the Docker runtime needs the Compose plugin, version 2 or newer: {why[0]}",
        actions=[
            "install the package docker-compose-plugin (Docker's own) or docker-compose (Debian 13)",
            "sudo make engine",
        ],
    )
