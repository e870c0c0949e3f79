"""The process of a trial: NNI's own entry point, started and ended with less work.

Half of what a short trial costs is imports and their end. While torch, Lightning and NNI are imported, Python's garbage
collector walks a million objects again and again and finds nothing; at the end it takes them apart one by one. So it
rests during the imports, leaves alone what they made, and a trial that has done its work ends without that.
"""

from __future__ import annotations

import gc
import sys
import threading

ENTRY = ["-m", "nni.nas.execution.training_service", "trial"]


def main(arguments: list[str]) -> None:
    """Run a trial and end this process; an error in the trial is raised.

    Args:
        arguments: What NNI wants behind the name of the python: its own entry point.

    Raises:
        SystemExit: Other arguments.
    """
    if arguments != ENTRY:
        sys.exit(f"usage: python -m nni_hypens.trials.process {' '.join(ENTRY)}")
    gc.disable()
    from nni_hypens import _nni  # noqa: F401 - what trials need, imported while the collector rests
    from nni_hypens.trials import training  # noqa: F401 - what trials need, imported while the collector rests

    # isort: split
    from nni.nas.execution.training_service import trial_entry

    gc.enable()
    gc.freeze()
    try:
        trial_entry()
    finally:
        gc.unfreeze()  # after an error this process ends in the usual way
    for thread in threading.enumerate():  # such as one of a logger that is still sending
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    _nni.end_process()


if __name__ == "__main__":
    main(sys.argv[1:])
