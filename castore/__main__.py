"""`python -m castore`: the command line, where the script `cas` is not on the path."""

from __future__ import annotations

import sys

from castore.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
