"""Load NNI and torch, which takes seconds: only commands that need them do, and say so first."""

from __future__ import annotations

import logging
import os
import sys


def load_libraries(quiet: bool) -> None:
    """Import NNI, torch and Lightning without their noise, and send what NNI logs to standard error.

    Args:
        quiet: Do not print that libraries are loading.
    """
    if not quiet and "torch" not in sys.modules:
        print("loading torch and NNI ...", file=sys.stderr, flush=True)
    from nni_hypens._nni import quiet_logging, quiet_training
    from nni_hypens.utils.progress import logs_beside_progress, warnings_beside_progress

    quiet_training()
    quiet_logging()
    logs_beside_progress()
    warnings_beside_progress()
    logging.raiseExceptions = False  # a log that cannot be written to a full disk needs no page of tracebacks


def find_user_modules() -> None:
    """Let `module:Class` and `module:callable` name modules of the working folder, as they do in a trial."""
    sys.path.insert(0, os.getcwd())
