"""The evaluator and the data of a run, as another process gets them: rebuilt by NNI's serializer.

NNI sends a trial the arguments of traced classes (``nni.trace``), not objects. Local workers are children of this
process, so they can be sent any object that can be pickled.
"""

from __future__ import annotations

from typing import Any

import nni
from nni.common.serializer import PayloadTooLarge, is_traceable
from nni.nas.evaluator import Evaluator

from nni_hypens.errors import InputError, reason

MAX_PAYLOAD = 60_000
"""Characters that NNI can send to a trial with its other parameters; its manager's limit is 64 KB."""
_TRACE = (
    "runner='local', which trains in processes of this machine; or what NNI can send: datasets made by nni.trace, such "
    "as nni.trace(MNIST)('data', train=True), in NNI's own DataLoader, or a data module of a class with @nni.trace"
)


def dump_parts(parts: Any) -> str:
    """NNI's text of traced objects, and of any other object that can be pickled. For children of this process only.

    Raises:
        InputError: An object cannot be pickled.
    """
    try:
        text: str = nni.dump(parts, pickle_size_limit=-1)
    except Exception as error:  # pickle and the user's classes may raise anything
        expected = "objects that can be pickled, so that worker processes can have them"
        raise InputError("evaluator or data", reason(error), expected) from None
    return text


def rebuilt(part: Any) -> Any:
    """A new object from the arguments of a traced one, because a trainer serves once; what is not traced is copied."""
    return nni.load(dump_parts(part))


def describe_part(part: Any) -> str | None:
    """NNI's text of an evaluator or data, by which a run recognises them; None where NNI did not trace all of it.

    Examples:
        >>> from nni_hypens import ImageData
        >>> "digits" in describe_part(ImageData("digits"))
        True
    """
    try:
        text: str | None = nni.dump(part) if is_traceable(part) else None
    except PayloadTooLarge:
        return None
    return text


def check_trial_parts(evaluator: Evaluator, data: Any, local: bool = False) -> None:
    """Check that another process can have an evaluator and its data.

    Args:
        evaluator: Trains one candidate.
        data: Data module.
        local: Whether that process is a worker of this machine instead of an NNI trial.

    Raises:
        InputError: One of them cannot be sent.
    """
    for name, part in (("evaluator", evaluator), ("data", data)):
        if local:
            dump_parts(part)
            continue
        if not is_traceable(part):
            raise InputError(name, f"a {type(part).__name__} that NNI cannot send to trials", _TRACE)
        try:
            size = len(nni.dump(part))
        except PayloadTooLarge:
            raise InputError(name, "loaders or data that are too large to send to trials", _TRACE) from None
        if size > MAX_PAYLOAD:
            raise InputError(name, f"{size:,} characters to send to each trial", f"{MAX_PAYLOAD:,}, or {_TRACE}")
