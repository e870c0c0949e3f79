"""The process of a trial: NNI's entry point with a faster start and end.

Imports and their tear-down are half the cost of a short trial. While torch, Lightning and NNI are imported, Python's
garbage collector repeatedly walks a million objects and frees nothing; at exit it frees them one by one. So it is
disabled during the imports, ignores their objects afterwards, and a finished trial exits without freeing them.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading

from nni_hypens.utils.paths import drop_working_folder, find_user_modules
from nni_hypens.utils.processes import MANAGER, OWNER, follow

ENTRY = ["-m", "nni.nas.execution.training_service", "trial"]


def import_for_training() -> None:
    """Import what training needs, without the garbage collector, which later ignores what is there now."""
    gc.disable()
    from nni_hypens.trials import training  # noqa: F401 - imported while the collector is disabled

    # isort: split
    import nni.nas.execution.training_service  # noqa: F401 - must follow nni_hypens, see nni_hypens/_nni.py

    gc.enable()
    gc.freeze()


def main(arguments: list[str]) -> None:
    """Run a trial and end this process; an error in the trial is raised.

    Args:
        arguments: The arguments that NNI appends to the python command: its entry point.

    Raises:
        SystemExit: Other arguments.
    """
    if arguments != ENTRY:
        sys.exit(f"usage: python -m nni_hypens.trials.process {' '.join(ENTRY)}")
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # NNI ends a trial so; its files are whole, and nothing else is kept
    follow(os.environ.get(OWNER, ""), os.environ.get(MANAGER, ""))  # both unset on other machines
    drop_working_folder()
    find_user_modules()
    import_for_training()
    from nni.nas.execution.training_service import trial_entry

    from nni_hypens import _nni

    try:
        trial_entry()
    finally:
        gc.unfreeze()  # after an error this process exits normally
    for thread in threading.enumerate():  # for example a logger that is still sending
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    _nni.end_process()


if __name__ == "__main__":
    main(sys.argv[1:])
