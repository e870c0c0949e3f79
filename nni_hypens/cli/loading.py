"""Load NNI and torch, which takes seconds: only commands that need them do, and say so first."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from nni_hypens.errors import InputError


def load_libraries(quiet: bool) -> None:
    """Import NNI, torch and Lightning without their noise, and send what NNI logs to standard error.

    Args:
        quiet: Do not print that libraries are loading.
    """
    if not quiet and "torch" not in sys.modules:
        print("loading torch and NNI ...", file=sys.stderr, flush=True)
    check_search_spaces()
    from nni_hypens._nni import quiet_logging, quiet_training
    from nni_hypens.utils.progress import logs_beside_progress, warnings_beside_progress

    quiet_training()
    quiet_logging()
    logs_beside_progress()
    warnings_beside_progress()
    logging.raiseExceptions = False  # a log that cannot be written to a full disk needs no page of tracebacks


def check_search_spaces() -> None:
    """Check that no other package named `search_spaces` hides the one that comes with this package.

    Raises:
        InputError: One does; it names its place.
    """
    import importlib.util

    import nni_hypens

    ours = Path(nni_hypens.__path__[0]).with_name("search_spaces")
    spec = importlib.util.find_spec("search_spaces")
    found = None if spec is None else spec.origin
    if found is None or not Path(found).parent.samefile(ours):
        got = f"{found or 'nothing'} as search_spaces, where {ours} is needed"
        raise InputError("PYTHONPATH", got, "no other package of this name before it: rename or remove it")
