"""Note: what different architectures and different seeds were worth in this run."""

from __future__ import annotations

from nni_hypens.report.content import RunContent
from nni_hypens.report.html import Note
from nni_hypens.report.text import number, plural


def variety_note(run: RunContent) -> Note | None:
    """How much networks differ, and what that gains; None where it was not measured."""
    found = {key: value for key, item in run.part("variety").items() if (value := number(item)) is not None}
    names = ("networks", "architectures", "between_architectures", "between_seeds", "different", "same")
    if any(name not in found for name in names) or found["architectures"] < 2:
        return None
    networks, architectures, between, seeds, different, same = (found[name] for name in names)
    repeated = networks > architectures
    members = max(len(run.members), 2)
    worth = 2 * (1 - 1 / members) * (different - same)
    text = (
        f"The run trained {plural(round(networks), 'network')} of {plural(round(architectures), 'architecture')} from "
        "new weights. On "
        f"validation data, with a temperature each, their NLL varies by {between:.4f} between architectures and by "
        f"{seeds:.4f} between seeds (standard deviations). Two networks of different architectures gain "
        f"{different:.4f} by being averaged, two seeds of one {same:.4f}. So {members} different architectures that "
        f"are as good alone as {members} seeds of one gain about {abs(worth):.4f} {'more' if worth > 0 else 'less'}."
    )
    if not repeated:
        text += " No architecture has two seeds: what concerns seeds is what such runs show on average."
    return Note(text)
