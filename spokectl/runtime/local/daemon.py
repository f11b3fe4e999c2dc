"""The program that supervises a stack's processes: supervisord, a third lighter in memory.

It runs as a file (`python -P daemon.py -n -c …`): nothing of spokectl is imported by it, and its neighbour supervisor.py
is not taken for the library.
"""

import sys
from importlib.util import find_spec

# supervisord speaks over a Unix socket only, and hashes nothing but passwords, which it has none of. OpenSSL, which
# these two modules load, is 7 MB of its 24. Some distributions build Python without hashes of its own: there it stays.
sys.modules["ssl"] = None  # type: ignore[assignment]  # the documented way to make an import fail
if find_spec("_sha1") and find_spec("_md5"):
    sys.modules["_hashlib"] = None  # type: ignore[assignment]

from supervisor.supervisord import main  # noqa: E402

if __name__ == "__main__":
    main()
