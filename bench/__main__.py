"""`python -m bench`: list, run, compare commits, publish; commands.py knows them all."""

import sys

from .commands import main

if __name__ == "__main__":
    sys.exit(main())
