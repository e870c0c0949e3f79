"""Which files that settings name are still needed: a run that has read one goes on without it."""

from __future__ import annotations

from nni_hypens.run.candidate import adaptive_left
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.settings import Settings


def files_needed(settings: Settings, folder: RunFolder, again: str | None = None) -> frozenset[str]:
    """Names of the settings whose files are still to be read.

    Args:
        settings: Those of the run.
        folder: Its folder; a new one needs all of them.
        again: A stage that is to be repeated even if it is done: `sample` for more candidates, `train`, or `select`.
    """
    found = set()
    if not folder.done("search"):
        found |= {"supernet", "base"}
    if again == "sample" or not folder.done("sample") or _adaptive_left(settings, folder, again):
        found.add("known_results")
    if again in ("sample", "train", "select") or not folder.done("evaluate"):
        found.add("ood")
    return frozenset(found)


def _adaptive_left(settings: Settings, folder: RunFolder, again: str | None) -> bool:
    """Whether training is still to decide on candidates, which are looked up as those before it were."""
    if folder.done("select") and again != "train":
        return False
    return adaptive_left(settings.adaptive_count, folder.read_candidates()) > 0
