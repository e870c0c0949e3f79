"""The process of a worker: trains one candidate after another for `nni_hypens.trials.local`, without NNI's manager.

It reads one request in a line of standard input and answers in lines of JSON on standard output. It ends at once when
its standard input is closed, so it does not outlive the process that started it, even after kill -9.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from typing import IO, Any

from nni_hypens.trials.process import import_for_training
from nni_hypens.utils.paths import drop_working_folder, find_user_modules


class Answers:
    """What the worker tells, one line of JSON for each; also the trial channel that the evaluator reports to."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def say(self, **answer: Any) -> None:
        """Send one line."""
        with self._lock:
            self._stream.write(json.dumps(answer) + "\n")
            self._stream.flush()

    def receive_parameter(self) -> Any:
        """A parameter, so that NNI's evaluators report as in a trial; the candidate itself is in the request."""
        return {"parameter_id": 0, "parameters": {}}

    def send_metric(self, type: str, parameter_id: Any, trial_job_id: str, sequence: int, value: Any) -> None:  # noqa: A002
        """Pass on what NNI's evaluators report after each epoch."""
        self.say(candidate=value["candidate"], default=value["default"])


def requests_of(stream: IO[str]) -> queue.Queue[str]:
    """The lines of a stream, read by a thread that ends this process when the stream ends."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        os._exit(0)  # in the middle of training, too: what is needed is in files that appear whole or not at all

    threading.Thread(target=read, daemon=True).start()
    return lines


def train(request: str, answers: Answers) -> None:
    """Train the candidate of one request, and answer with its report or its error.

    Args:
        request: NNI's text of the frozen model, whose evaluator is a `CandidateEvaluator`.
        answers: Where the answer goes.
    """
    import nni

    try:
        nni.get_next_parameter()
        model = nni.load(request)
        answers.say(report=model.evaluator.train_alone(model))
    except Exception as error:  # a user's network or evaluator may raise anything
        answers.say(error=f"{type(error).__name__}: {error}"[:500])


def main() -> None:
    """Answer requests until standard input is closed."""
    drop_working_folder()
    find_user_modules()
    answers = Answers(os.fdopen(os.dup(sys.stdout.fileno()), "w"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a network prints must not be taken for an answer
    requests = requests_of(sys.stdin)
    import_for_training()
    from nni.runtime.trial_command_channel import set_default_trial_command_channel

    set_default_trial_command_channel(answers)
    while True:
        train(requests.get(), answers)


if __name__ == "__main__":
    main()
