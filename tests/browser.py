"""A real browser without a window, driven over two pipes: what it draws can be measured, and what it asks for is seen.

It speaks the Chrome DevTools Protocol. Source: https://chromedevtools.github.io/devtools-protocol/ ; the pipes are
`--remote-debugging-pipe`: commands on descriptor 3, answers on 4, each JSON text ended by a zero byte.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_WITHIN_S = 120.0
# No sandbox: root has none, and the pages are ours. No traffic of the browser's own.
_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
)

# Puts the pipes where the browser looks for them, whatever numbers they have here; then it is the browser.
_WITH_PIPES = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def browser_path() -> str:
    """The browser of this machine: $SPOKECTL_TESTS_BROWSER, or one on the PATH. Skips the test where there is none."""
    found = os.environ.get("SPOKECTL_TESTS_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None and _MAC.exists():
        found = str(_MAC)
    if found is None:
        pytest.skip("there is no Chromium or Chrome here: on Debian `make browser` as root installs one")
    return found


class Page:
    """One page in the browser.

    `complaints`: what its console said; `asked_for`: every address that it wanted; `blocked`: why it did not get one.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._number, self._rest = 0, b""
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        self.blocked: list[str] = []

    def attach(self) -> None:
        """Opens an empty page and listens to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def show(self, path: Path, width: int, height: int = 900, *, dark: bool = False, medium: str = "screen") -> None:
        """Loads a file in a window of this size, and returns when it is drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=medium, features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=path.as_uri())
        end = time.monotonic() + _WITHIN_S
        while not any(each["method"] == "Page.loadEventFired" for each in self._events):
            self._take(end)

    def ask(self, script: str) -> Any:
        """The value of a JavaScript expression, as JSON has it."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + _WITHIN_S
        while True:
            answer = self._take(end)
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _take(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self._keep(message)
        return message

    def _keep(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        parameters = event["params"]
        if event["method"] == "Network.requestWillBeSent":
            self.asked_for.append(parameters["request"]["url"])
        elif event["method"] == "Network.loadingFailed":
            self.blocked.append(parameters.get("blockedReason", ""))
        elif event["method"] in {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}:
            self.complaints.append(json.dumps(parameters))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with one empty page, gone afterwards. `folder`: for its profile."""
    their_commands, commands = os.pipe()
    answers, their_answers = os.pipe()
    words = [sys.executable, "-c", _WITH_PIPES, str(their_commands), str(their_answers), browser_path()]
    with subprocess.Popen(
        [*words, *_OPTIONS, f"--user-data-dir={folder}"],
        pass_fds=(their_commands, their_answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        os.close(their_commands)
        os.close(their_answers)
        try:
            page = Page(commands, answers)
            page.attach()
            yield page
            page._session = None
            page.call("Browser.close")
            process.wait(_WITHIN_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
            os.close(commands)
            os.close(answers)
