"""Where this Python looks for modules: the working folder comes last, so that a user's `random.py` hides nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def own_python() -> list[str]:
    """The command of this Python for a module of ours, without the working folder at the front of its path.

    Python 3.10 has no option for this; there, `drop_working_folder` helps as soon as the module runs.
    """
    return [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else [])]


@contextmanager
def safe_children() -> Iterator[None]:
    """Keep the working folder from the front of the path of Python processes that start meanwhile (from 3.11 on)."""
    with_it = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if with_it is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = with_it


def drop_working_folder() -> None:
    """Undo what ``python -m`` does: it puts the working folder at the front of the path."""
    if sys.path and sys.path[0] in ("", os.getcwd()) and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]


def find_user_modules() -> None:
    """Let `module:Class` name modules of the working folder, in a command as in a trial; others go before them."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
