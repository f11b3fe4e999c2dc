"""httpx without its command line, which it imports when it can: click, Rich and Pygments, twice httpx's own cost."""

import sys

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None makes that import fail, which httpx expects

import httpx  # noqa: E402 - what comes before is the point of this module

__all__ = ["httpx"]
