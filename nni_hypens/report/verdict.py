"""The verdict at the top of the report: is the ensemble better than its best member?"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

from nni_hypens.report.content import RunContent, mappings
from nni_hypens.report.html import Callout
from nni_hypens.report.intervals import Difference, difference_data, interval, interval_name, range_text
from nni_hypens.report.text import number, plural
from nni_hypens.report.weak_spots import few_validation, surer_of_unknown, weak_spots
from nni_hypens.utils.inputs import noun

USEFUL_RANKING = 0.3
"""Spearman correlation below which the supernet's ranking is called close to chance."""
BRIEF = 0.9
"""Median temperature of members below which their training is called brief. In our pool, networks that were trained for
a tenth (Fashion-MNIST) or a seventh (CIFAR-10) of their epochs have a median of 0.52 and 0.85, those trained to the
end 1.07 and more."""
_NAMES = {"accuracy": "accuracy", "nll": "NLL"}
_RIGHT = {"ensemble": "right", "best_member": "best_member_right"}  # counts by class, in `classes` of results.json


class Verdict(NamedTuple):
    """The ensemble against its best member on test data.

    Attributes:
        outcome: "better", "worse", "equal" or "mixed" over accuracy and NLL together; "chance" if the ensemble is not
            measurably more accurate than always the most frequent class.
        sentence: The numbers in words, with their uncertainty if it was measured.
        chance: Those of accuracy and NLL that differ, but with an interval that includes zero.
        differs: Those of accuracy and NLL that differ.
    """

    outcome: str
    sentence: str
    chance: tuple[str, ...]
    differs: tuple[str, ...]


def verdict(results: Mapping[str, Any], n_test: int | None) -> Verdict:
    """Compare the ensemble with its best member on test data.

    Args:
        results: results.json with `ensemble` and `best_member` (accuracy 0..1, nll in nats), and `intervals` if known.
        n_test: Number of test images, if known.
    """
    # Compared as printed, so that two numbers that look the same are never called different.
    ours, best = ({k: round(results[part][k], 4) for k in _NAMES} for part in ("ensemble", "best_member"))
    spec = (results.get("data") or {}).get("input_spec")
    what = noun(spec if isinstance(spec, Mapping) else {})
    gain, loss = ours["accuracy"] - best["accuracy"], ours["nll"] - best["nll"]
    signs = {value > 0 for value in (gain, -loss) if value}
    outcome = "equal" if not signs else "mixed" if len(signs) > 1 else "better" if signs == {True} else "worse"
    chance = chance_accuracy(results)
    if chance is not None and is_chance(results, n_test):
        outcome = "chance"
    model = f"best member ({results['best_member'].get('id')})"
    intervals = {key: row for key in _NAMES if (row := _difference(results, model, key)) is not None}
    name = interval_name(results.get("intervals") or {})
    ends = {key: f"; {name} {range_text((row.low, row.high), key)}" for key, row in intervals.items()}
    points = f": {100 * gain:+.2f} points" if gain else ""
    if gain and n_test:
        right, best_right = (_right(results, part, n_test) for part in ("ensemble", "best_member"))
        if right is not None and best_right is not None:
            points += f", or {abs(right - best_right)} of {n_test} test {what}s"
    change = f": {loss:+.4f}" if loss else ""
    accuracy = "is more accurate than" if gain > 0 else "is less accurate than" if gain < 0 else "is as accurate as"
    nll = "a lower (better)" if loss < 0 else "a higher (worse)" if loss > 0 else "the same"
    count = len(results.get("members") or ())
    size = f" of {plural(count, 'member')}" if count else ""
    sentence = (
        f"The ensemble{size} {accuracy} its best member "
        f"({ours['accuracy']:.2%} against {best['accuracy']:.2%}{points}{ends.get('accuracy', '')}) "
        f"{'but' if outcome == 'mixed' else 'and'} has {nll} NLL "
        f"({ours['nll']:.4f} against {best['nll']:.4f}{change}{ends.get('nll', '')})."
    )
    if outcome == "chance":
        sentence += (
            f" But it is not measurably more accurate than always answering the most frequent class ({chance:.2%}): it "
            f"has learned nothing that these test {what}s can show. More updates or more {what}s are needed."
        )
    differs = tuple(key for key, value in (("accuracy", gain), ("nll", loss)) if value)
    return Verdict(
        outcome, sentence, tuple(key for key in differs if key in intervals and not intervals[key].sign), differs
    )


def _right(results: Mapping[str, Any], part: str, n_test: int) -> int | None:
    """How many test images a model has right; None where a rounded accuracy leaves it open and nothing else says it."""
    accuracy = results[part]["accuracy"]
    count: int = round(accuracy * n_test)
    if accuracy == round(accuracy, 4):  # perhaps rounded: then up to 10,000 images, no two counts have one accuracy
        is_exact = n_test <= 10_000
    else:
        is_exact = abs(accuracy * n_test - count) < 1e-6
    if is_exact:
        return count
    classes = results.get("classes")
    found = classes.get(_RIGHT[part]) if isinstance(classes, Mapping) else None
    return sum(found) if isinstance(found, list) and found and all(type(one) is int for one in found) else None


def chance_accuracy(results: Mapping[str, Any]) -> float | None:
    """Accuracy of always answering the most frequent class of the test images.

    Results of earlier versions do not contain it; for them it is that of classes of equal size.
    """
    known = number((results.get("chance") or {}).get("accuracy"))
    classes = number((results.get("data") or {}).get("num_classes"))
    return 1 / classes if known is None and classes else known


def is_chance(results: Mapping[str, Any], n_test: int | None) -> bool:
    """Whether the ensemble's accuracy is within two standard errors of `chance_accuracy`, or below, and its
    probabilities tell no more than the frequencies of the classes (`tells_more`).

    Examples:
        >>> results = {"ensemble": {"accuracy": 0.33}, "chance": {"accuracy": 0.25}}
        >>> is_chance(results, 60), is_chance(results, 600)
        (True, False)
    """
    return has_chance_accuracy(results, n_test) and not tells_more(results)


def has_chance_accuracy(results: Mapping[str, Any], n_test: int | None) -> bool:
    """Whether the ensemble's accuracy is within two standard errors of `chance_accuracy`, or below."""
    chance = chance_accuracy(results)
    if chance is None:
        return False
    error = (chance * (1 - chance) / n_test) ** 0.5 if n_test else 0.0
    return bool(results["ensemble"]["accuracy"] <= chance + 2 * error)


def tells_more(results: Mapping[str, Any]) -> bool:
    """Whether the interval of the ensemble's NLL is below the NLL of the frequencies of the classes.

    Where one class is rare, a good model may give it high probabilities and still seldom more than half. Results of
    earlier versions do not have the NLL of the frequencies.
    """
    level = number((results.get("chance") or {}).get("nll"))
    rows = (results.get("intervals") or {}).get("rows") or ()
    ends = next(((row.get("nll") or {}).get("interval") for row in rows if row.get("name") == "ensemble"), None)
    known = interval(ends)
    return level is not None and known is not None and known[1] < level


def _difference(results: Mapping[str, Any], model: str, key: str) -> Difference | None:
    """Ensemble minus a model, with its interval, if it was measured."""
    return next((row for row in difference_data(results.get("intervals") or {}, key) if row.name == model), None)


def verdict_block(run: RunContent) -> Callout:
    """The verdict in a frame, with what a reader must know to judge it."""
    found = verdict(run.results, run.n_test)
    head, look = verdict_head(found)
    return Callout(found.sentence, head, look, _caveats(run))


def verdict_head(found: Verdict) -> tuple[str, str]:
    """The verdict in a few words, and the look of its frame."""
    head = found.outcome.capitalize()
    if found.outcome == "chance":
        return "No better than chance", "worse"
    if found.chance and found.chance == found.differs:
        return f"{head}, but it may be chance", "equal"
    if found.chance:
        head += f", though the difference in {_NAMES[found.chance[0]]} may be chance"
    return head, found.outcome


def _caveats(run: RunContent) -> list[str]:
    """What keeps a reader from concluding too much from the verdict."""
    notes = []
    if len(run.members) == 1:
        notes.append("With one member there is nothing to average: only the temperature can make a difference.")
    notes += _chance_note(run) + weak_spots(run) + _smaller_note(run) + _calibrated_note(run.results) + _error_note(run)
    notes += surer_of_unknown(run) + _validation_note(run)
    notes += _brief_note(run) + _ranking_note(run.part("ranking"))
    return notes + _better_models(run)


def _validation_note(run: RunContent) -> list[str]:
    """How few validation images there were, where that matters."""
    sizes = run.part("data").get("sizes")
    count = number(sizes.get("validation")) if isinstance(sizes, Mapping) else None
    found = None if count is None else few_validation(int(count), run.noun)
    return [f"{found[0].upper()}{found[1:]}."] if found else []


def _brief_note(run: RunContent) -> list[str]:
    """That longer training is likely to help more than more networks, where the members look unfinished.

    Label smoothing and mixup also make networks less sure, however long they train: with them the note is left out.
    """
    found = [number(row.get("own_temperature")) for row in run.members]
    own = [value for value in found if value is not None]
    smoothed = any(number(run.config.get(name)) for name in ("label_smoothing", "mixup"))
    if smoothed or not own or median(own) >= BRIEF:
        return []
    return [
        "The members are less sure of their answers than they are right (the median of their temperatures is "
        f"{median(own):.2f}, below 1), as networks are that were trained briefly. Then more epochs are likely to help "
        "more than more candidates: compare a run with more epochs and fewer candidates (--epochs, --candidates)."
    ]


def _chance_note(run: RunContent) -> list[str]:
    """The chance level, unless the verdict is about it."""
    level, accuracy = chance_accuracy(run.results), run.results["ensemble"]["accuracy"]
    if not level or is_chance(run.results, run.n_test):
        return []
    if has_chance_accuracy(run.results, run.n_test):
        nll, frequencies = run.results["ensemble"]["nll"], run.results["chance"]["nll"]
        return [
            f"It is not measurably more accurate than always answering the most frequent class ({level:.2%}). Its "
            f"probabilities tell more than the frequencies of the classes (NLL {nll:.4f} against {frequencies:.4f}): "
            "look at the single classes."
        ]
    said = f"Chance level: {level:.2%} of the answers are right if every answer is the most frequent class"
    return [f"{said}; the ensemble's are right {accuracy / level:.1f} times as often."]


def _error_note(run: RunContent) -> list[str]:
    """The standard error of the accuracy, where no interval says more."""
    if not run.n_test or difference_data(run.part("intervals"), "accuracy"):
        return []
    accuracy = run.results["ensemble"]["accuracy"]
    error = (accuracy * (1 - accuracy) / run.n_test) ** 0.5
    return [
        f"The standard error of this accuracy on {run.n_test} test {run.noun}s is {100 * error:.2f} points; "
        "differences of that size may be chance."
    ]


def _smaller_note(run: RunContent) -> list[str]:
    """The smallest ensemble chosen on validation data that test data do not show to be worse than the whole one."""
    fewer = [row for row in mappings(run.results.get("sizes")) if 1 < len(row.get("members") or ()) < len(run.members)]
    for row in sorted(fewer, key=lambda row: len(row["members"])):
        found = {key: _difference(run.results, str(row.get("name")), key) for key in _NAMES}
        accuracy, nll = found["accuracy"], found["nll"]
        if accuracy is None or nll is None or accuracy.sign > 0 or nll.sign > 0:
            continue
        size = len(row["members"])
        name = interval_name(run.part("intervals"))
        return [
            f"A smaller ensemble is as good, as far as these test {run.noun}s show: {row.get('name')}, chosen on "
            f"validation data. The larger one's accuracy differs by {100 * accuracy.value:+.2f} points ({name} "
            f"{range_text((accuracy.low, accuracy.high), 'accuracy')}) and its NLL by {nll.value:+.4f} ({name} "
            f"{range_text((nll.low, nll.high), 'nll')}). The command nni-hypens select makes it the ensemble of this "
            f"run, without training (--members {size})."
        ]
    return []


def _calibrated_note(results: Mapping[str, Any]) -> list[str]:
    """The ensemble against its best member after calibration: what the ensemble gives beyond calibration."""
    row = _difference(results, "best member, calibrated", "nll")
    if row is None:
        return []
    return [
        f"Compared with its best member after calibration, the ensemble's NLL is {abs(row.value):.4f} "
        f"{'lower' if row.value < 0 else 'higher'} ({interval_name(results['intervals'])} "
        f"{range_text((row.low, row.high), 'nll')}){'' if row.sign else ': this may be chance'}."
    ]


def _ranking_note(ranking: Mapping[str, Any]) -> list[str]:
    rank = number(ranking.get("spearman"))
    # Without a ranking the supernet decides nothing. The promising one chooses by size, too: its candidates' NLL on the
    # supernet says less about them.
    if rank is None or rank >= USEFUL_RANKING or ranking.get("method") in ("none", "promising"):
        return []
    return [
        "The supernet's ranking of the candidates hardly predicts their NLL after training (Spearman's correlation "
        f"below {USEFUL_RANKING:g}): the choice of which ones to train was close to chance."
    ]


def _better_models(run: RunContent) -> list[str]:
    """Name the members and baselines that turned out better on test data than what was chosen before."""
    notes = []
    for name, rows, bar, other in (
        ("members", run.members, run.results["best_member"], "the best member"),
        ("baselines", run.baselines, run.results["ensemble"], "the ensemble"),
    ):
        better = [
            str(row.get("id", row.get("name")))
            for row in rows
            if (nll := number(row.get("nll"))) is not None and nll < bar["nll"]
        ]
        if better:
            notes.append(f"On test data these {name} have a lower NLL than {other}: {', '.join(better)}.")
    return notes
