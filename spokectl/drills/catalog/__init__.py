"""All drills, in the order in which they are listed and run. A module holds the drills of one part of the stack."""

from spokectl.drills.catalog import (
    front,
    operators,
    postgres,
    postgres_data,
    postgres_links,
    redis,
    restarts,
    seed,
    spokes,
    storage,
    whole,
)
from spokectl.drills.drill import CATALOG, Drill

# Importing a module registers its drills; this is the order of the groups.
_IN_ORDER = (seed, spokes, front, postgres, postgres_links, postgres_data, operators, redis, storage, restarts, whole)
GROUPS = [module.GROUP for module in _IN_ORDER]


def all_drills() -> dict[str, Drill]:
    """Every drill by its name."""
    return {each.name: each for each in sorted(CATALOG.values(), key=lambda drill: GROUPS.index(drill.group))}
