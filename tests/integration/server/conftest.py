"""What the tests of this folder share."""

from __future__ import annotations

from tests.integration.server.fixtures import api, module, other, pair, push, stack, three_spokes

__all__ = ["api", "module", "other", "pair", "push", "stack", "three_spokes"]
