"""Packages that an extra brings: which one to install where they are missing.

The rule: only the packages named count as missing; what fails inside of them is shown as it is.
"""

import contextlib


@contextlib.contextmanager
def needed(told, extra, *packages):
    """Turn the absence of a package that the block imports into an ImportError with the remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in packages:
            raise
        raise ImportError(f"{told}: pip install 'fonio[{extra}]'") from None
