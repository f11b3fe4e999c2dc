"""Makes the guard importable: it is no part of the installed packages, it travels with the stack."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "stack" / "services" / "postgres"))
