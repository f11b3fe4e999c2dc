"""All drills, in the order in which they are listed and run. A module holds the drills of one part of the stack."""

from spokectl.drills.catalog import postgres as _postgres
from spokectl.drills.catalog import redis as _redis
from spokectl.drills.catalog import spokes as _spokes
from spokectl.drills.drill import CATALOG, Drill

__all__ = ["GROUPS", "all_drills"]

# Importing them has registered their drills.
GROUPS = {module.GROUP: module.__name__ for module in (_spokes, _postgres, _redis)}


def all_drills() -> dict[str, Drill]:
    """Every drill by its name."""
    return dict(CATALOG)
