"""What operations ask of a running guard: one file, which holds the latest request until it is dealt with."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write_request(path: Path, action: str, *, discard: bool) -> str:
    """Leaves a request for the guard, who is to be woken with SIGUSR1; returns the id that its status will name."""
    identity = os.urandom(8).hex()
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"id": identity, "action": action, "discard": discard}))
    # Root asks guards that run as another user; a request holds no secret.
    temporary.chmod(0o644)
    temporary.rename(path)
    return identity


class Request:
    """The request that the guard has before it, if any; its fields change only when another one comes.

    What is there when this is made was meant for an earlier guard, and is never acted on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fields: dict[str, Any] = {}
        self._handled: str | None = self._left_id()

    @property
    def id(self) -> str | None:
        return self._fields.get("id")

    @property
    def action(self) -> str | None:
        return self._fields.get("action")

    @property
    def wants_copy(self) -> bool:
        return self.action == "reinit"

    @property
    def may_discard(self) -> bool:
        return bool(self._fields.get("discard"))

    def read(self) -> None:
        """Looks for a new one; a file that cannot be read is looked at again next time."""
        try:
            found = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            self._fields = {}
            return
        except (OSError, ValueError):
            return
        if found.get("id") not in (self.id, self._handled):
            self._fields = found

    def copy_is_done(self) -> None:
        """The data has been replaced: that word is used up, but its end is still to be told."""
        self._fields.update(action=None, discard=False)

    def forget(self) -> str | None:
        """Ends the request, which has been dealt with, and returns its id.

        The file stays: another request may have come into it by now.
        """
        handled = self.id
        self._handled = handled or self._handled
        self._fields = {}
        return handled

    def clear(self) -> None:
        """Removes what an earlier guard was asked, for whoever asked to see; what has come since stays.

        Only for the guard that has the data directory: until then it may be another one's that lives.
        """
        if self._left_id() == self._handled:
            with suppress(FileNotFoundError):
                self._path.unlink()

    def _left_id(self) -> str | None:
        try:
            found: str | None = json.loads(self._path.read_bytes()).get("id")
        except (OSError, ValueError):
            return None
        return found
