"""Where files lie while protoc reads them: folders in memory where the system has such, that nobody's death leaves behind.

Each folder is locked by its maker for as long as it is used. What a killed server left is not locked, so the next one
that starts removes it, however many servers share the machine.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from spoke_server.registry import File

PREFIX = "spoke-protoc-"
# Between being made and being locked a folder is young.
MIN_LEFTOVER_AGE_S = 60.0
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folders in it have random names and belong to this user alone
_CANNOT_HOLD = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EMFILE}


def roots() -> tuple[Path, ...]:
    """Where folders may be made, the quickest first: on disk a file can cost more than protoc needs for it."""
    on_disk = Path(tempfile.gettempdir())
    return (_IN_MEMORY, on_disk) if _IN_MEMORY.is_dir() else (on_disk,)


class Scratch:
    """A folder of named folders of files; gone when it is closed."""

    def __init__(self, root: Path, folders: Mapping[str, Iterable[File]]) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        # Also when nobody is left to close it: whoever asked for it may have been given up meanwhile.
        self._end = weakref.finalize(self, _end, self.path, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name, files in folders.items():
                _write(self.path / name, files)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes the folder."""
        self._end()


def _end(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def lay_out(folders: Mapping[str, Iterable[File]], among: Iterable[Path]) -> Scratch:
    """Writes the files in the first of these places that can hold them."""
    full: OSError | None = None
    for root in among:
        try:
            return Scratch(root, folders)
        except OSError as error:
            if error.errno not in _CANNOT_HOLD:
                raise
            full = error
    raise full or FileNotFoundError("no folder for temporary files")


def remove_leftovers(among: Iterable[Path]) -> int:
    """Removes what this user's killed servers left; says how many folders that were."""
    return sum(_remove_if_left(path) for root in among for path in root.glob(f"{PREFIX}*"))


def _remove_if_left(path: Path) -> bool:
    with contextlib.suppress(OSError), _opened(path) as folder:
        facts = os.fstat(folder)
        if facts.st_uid != os.geteuid() or time.time() - facts.st_mtime < MIN_LEFTOVER_AGE_S:
            return False
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path)
        return True
    return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield folder
    finally:
        os.close(folder)


def _write(root: Path, files: Iterable[File]) -> None:
    root.mkdir()
    made = {str(root)}
    for file in files:
        path = f"{root}/{file.path}"
        folder = os.path.dirname(path)  # noqa: PTH120 - ten thousand times, and Path costs more than the file
        if folder not in made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            made.add(folder)
        with open(path, "wb") as target:  # noqa: PTH123
            target.write(file.content.encode())
