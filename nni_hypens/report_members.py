"""Sections of a report on members and uncertainty: why each member is in, entropy, corrupted images, other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nni_hypens import plot_data, plots, report_html as page
from nni_hypens.plot_cost import cost_front_data
from nni_hypens.plot_data import mappings, number
from nni_hypens.report_examples import member_gallery
from nni_hypens.report_reading import RunContent

_METHODS = {
    "ensemble": "one temperature on the average", "members": "a temperature for each member", "none": "no temperature"
}  # fmt: skip
_SCORES = {
    "entropy": "entropy", "mutual_information": "mutual information", "confidence": "confidence",
    "best_member_confidence": "best member's confidence",
}  # fmt: skip
_COSTS = {"parameters": "by parameters", "flops": "by FLOPs"}
_SEVERITIES = (1, 2, 3, 4, 5)


def _signed(value: float) -> str:
    return f"{value:+.4f}"


def _count(value: Any) -> str:
    found = number(value)
    return "–" if found is None else f"{found:.0f}"


def _engineering(value: Any) -> str:
    """A count in a few digits: 12,345, or 12.3 M from a million on."""
    found = number(value)
    return "–" if found is None else f"{found:,.0f}" if found < 1e6 else f"{found / 1e6:,.4g} M"


def _gain(value: Any) -> str:
    found = number(value)
    return "–" if found is None else _signed(found)


def reason(member: Mapping[str, Any], n_test: int | None) -> str:
    """Say why a member is in, and what test data says of it.

    Args:
        member: Its row in results.json: `validation_gain`, `swap_gain`, `swap_for`, `test_gain`, `disagreement`,
            `right_alone`, `wrong_alone`; any of them may be missing.
        n_test: Number of test examples, if known.

    Returns:
        Sentences; empty where there is nothing to say.
    """
    gain, swap, test = (number(member.get(key)) for key in ("validation_gain", "swap_gain", "test_gain"))
    parts = []
    if gain is not None:
        change = f"{abs(gain):.4f} {'higher' if gain >= 0 else 'lower'}"
        parts.append(f"On validation data the NLL of the average would be {change} without it.")
        if gain < 0:
            parts.append("It is in because the number of members was fixed.")
    if swap is not None:
        change = f"{abs(swap):.4f} {'higher' if swap >= 0 else 'lower'}"
        parts.append(f"With the best other candidate in its place, {member.get('swap_for')}, it would be {change}.")
    alone = [number(member.get(key)) for key in ("right_alone", "wrong_alone")]
    if None not in alone:
        of = f" of {n_test}" if n_test else ""
        share = number(member.get("disagreement"))
        differs = "" if share is None else f"it differs from another member on {share:.1%} of the images, "
        parts.append(f"On test data {differs}is alone right on {alone[0]:.0f}{of} and alone wrong on {alone[1]:.0f}")
        parts[-1] += (
            "."
            if test is None
            else f"; without it the NLL would be {abs(test):.4f} " + ("higher." if test >= 0 else "lower.")
        )
    return " ".join(parts)


def why_members(run: RunContent) -> str:
    """The section that says why each member is in; empty for one member or an older folder."""
    told = [(member, reason(member, run.n_test)) for member in run.members]
    if not any(text for _, text in told):
        return ""
    rows = []
    for member, _ in told:
        cells = [
            (_gain(member.get("validation_gain")), True), (_gain(member.get("swap_gain")), True),
            (_gain(member.get("test_gain")), True), (page.fixed(member.get("disagreement"), percent=True), True),
            (_count(member.get("right_alone")), True), (_count(member.get("wrong_alone")), True),
            (page.fixed(member.get("own_temperature"), 3), True),
        ]  # fmt: skip
        rows.append(page.row(member["id"], cells))
    head = (
        "member", "#gain", "#ahead of the next", "#gain, test", "#disagreement", "#right alone", "#wrong alone",
        "#own temperature",
    )  # fmt: skip
    caption = (
        "Gain: NLL of the average without the member minus with it, on validation data, before any temperature, as "
        "selection compares it; ahead of the next: the same with the best other candidate in its place. "
        "Disagreement is the mean over the other members; the counts are test images."
    )
    items = [_why(run, member, text) for member, text in told if text]
    return page.section("Why each member is in", *items, page.table(caption, head, rows, "results"))


def _why(run: RunContent, member: Mapping[str, Any], text: str) -> str:
    """One member: the reason, and images that it has right and most others have wrong."""
    images = member_gallery(run, member["id"])
    if images:
        images = f'<p class="note">Test images that it has right and most other members have wrong:</p>{images}'
    return f"<h3>{page.esc(member['id'])}</h3><p>{page.esc(text)}</p>{images}"


def calibration_table(run: RunContent) -> str:
    """The table of the ways to calibrate; empty for an older folder."""
    found = run.results.get("calibration") or {}
    rows = []
    for item in mappings(found.get("rows")):
        method = str(item.get("method"))
        used = method == found.get("method")
        listed = item.get("member_temperatures")
        own = [page.fixed(value, 3) for value in (listed if isinstance(listed, list) else ())]
        said = {"ensemble": page.fixed(item.get("temperature"), 3), "members": ", ".join(own)}.get(method, "–")
        cells = [*page.metric_cells(item), (page.fixed(item.get("validation_nll")), True), (said, False)]
        rows.append(page.row(_METHODS.get(method, method) + (" (used)" if used else ""), cells, "top" if used else ""))
    head = ("calibration", "#accuracy", "#NLL", "#ECE", "#Brier", "#AURC", "#validation NLL", "temperature")
    caption = "The ensemble on test data by each way to calibrate it; temperatures were fitted on validation data."
    return page.table(caption, head, rows, "results") if rows else ""


def uncertainty(run: RunContent) -> str:
    """The section on entropy and images from elsewhere; empty for an older folder."""
    split = {str(item.get("examples")): item for item in mappings((run.results.get("uncertainty") or {}).get("rows"))}
    ood = run.results.get("ood") or {}
    sets = mappings(ood.get("sets"))
    kinds = {f"test, {name}": item for name, item in split.items()}
    kinds |= {_set_name(item): item for item in sets}
    bars = plot_data.entropy_data(kinds)
    parts = []
    if bars:
        text = (
            "Mean entropy of the average before any temperature. Aleatoric: the mean of the members' own entropies; "
            "epistemic: the mutual information of prediction and member, which is what they disagree about."
        )
        rows = [
            page.row(label, [(_count(item.get("count", item.get("images"))), True),
                             *((page.fixed(item.get(key), 3), True) for key in ("total", "aleatoric", "epistemic"))])
            for label, item in kinds.items()
        ]  # fmt: skip
        table = page.table(
            "Mean entropy (nats) by images", ("images", "#number", "#total", "#aleatoric", "#epistemic"), rows
        )
        drawn = page.figure(plots.draw_entropy(bars, "entropy"), text)
        parts.append(f'<div class="side">{drawn}<div>{table}</div></div>')
    return page.section("Uncertainty, and images from elsewhere", *parts, _ood_table(ood, sets))


def _set_name(item: Mapping[str, Any]) -> str:
    return {"fashion_mnist": "Fashion-MNIST"}.get(str(item.get("name")), str(item.get("name")))


def _ood_table(ood: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for item in sets:
        auroc = item.get("auroc") if isinstance(item.get("auroc"), Mapping) else {}
        rows.append(
            page.row(_set_name(item), [(page.fixed(auroc.get(score), 3), True) for score in _SCORES])  # type: ignore[union-attr]
        )
    caption = (
        f"AUROC of telling images from elsewhere from {_count(ood.get('images'))} test images by how unsure the model "
        "is: 0.5 is chance, below it the model is surer of what it has never seen."
    )
    head = ("images from elsewhere", *(f"#{name}" for name in _SCORES.values()))
    notes = "".join(
        f'<p class="note">Not measured: {page.esc(item.get("name"))}. {page.esc(item.get("reason"))}</p>'
        for item in mappings(ood.get("skipped"))
    )
    return (page.table(caption, head, rows, "results") if rows else "") + notes


def corrupted(run: RunContent) -> str:
    """The section on corrupted test images; empty for an older folder."""
    found = run.results.get("corruptions") or {}
    title = "Corrupted test images"
    if found.get("skipped"):
        return page.section(title, f'<p class="note">Not measured: {page.esc(found["skipped"])}</p>')
    rows = mappings(found.get("rows"))
    curves = plot_data.robustness_data(rows)
    if not curves:
        return ""
    of = f"{_count(found.get('images'))} of {_count(found.get('of'))} test images"
    text = f"Means over all corruptions, on {of}. Severity 0: the same images, clean."
    drawn = page.figure(plots.draw_robustness(curves, "robustness"), text)
    tables = _corruption_table(rows, "accuracy") + _corruption_table(rows, "nll")
    return page.section(title, f'<div class="side">{drawn}<div>{tables}</div></div>')


def _corruption_table(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    """Accuracy or NLL of the ensemble and, after a slash, of the best member, by corruption and severity."""
    at = {(str(row.get("corruption")), number(row.get("severity")), str(row.get("model"))): row for row in rows}
    names = list(dict.fromkeys(str(row.get("corruption")) for row in rows if number(row.get("severity"))))
    # Against a best member with a temperature of its own: without one its NLL says little of its answers.
    other = "best member" if key == "accuracy" else "best member, calibrated"

    def cell(name: str, severity: int) -> tuple[str, bool]:
        pair = [number((at.get((name, severity, model)) or {}).get(key)) for model in ("ensemble", other)]
        said = ["–" if value is None else f"{value:.0%}" if key == "accuracy" else f"{value:.2f}" for value in pair]
        return " / ".join(said), True

    body = [page.row(name.replace("_", " "), [cell(name, severity) for severity in _SEVERITIES]) for name in names]
    what = "Accuracy" if key == "accuracy" else "NLL"
    caption = f"{what} by severity: ensemble / {other}"
    return page.table(caption, ("corruption", *(f"#{severity}" for severity in _SEVERITIES)), body, "results")


def cost_front(run: RunContent) -> str:
    """The section on accuracy against cost; empty for an older folder."""
    found = run.results.get("cost_front") or {}
    drawings, rows = [], []
    for cost, said in (("parameters", "parameters"), ("flops", "FLOPs")):
        front = cost_front_data(found, cost)
        if not front.points:
            continue
        text = f"Averages of 1 to {len(run.members)} candidates by {said}; the numbers are those of their members."
        drawings.append(page.figure(plots.draw_cost_front(front, f"front-{cost}"), text))
    picked = found.get("chosen")
    chosen = [("the chosen ensemble", picked)] if isinstance(picked, Mapping) else []
    points = [(_COSTS.get(str(item.get("by")), "–"), item) for item in mappings(found.get("rows"))]
    for name, item in [*chosen, *points]:
        listed = item.get("members")
        members = ", ".join(str(member) for member in listed) if isinstance(listed, list) else "–"
        mark = " (chosen)" if item.get("chosen") is True else ""
        cells = [
            (members + mark, False), *((_engineering(item.get(cost)), True) for cost in _COSTS),
            (page.fixed(item.get("latency_ms"), 2), True), (page.fixed(item.get("validation_nll")), True),
            (page.fixed(item.get("test_nll")), True), (page.fixed(item.get("test_accuracy"), percent=True), True),
        ]  # fmt: skip
        rows.append(page.row(name, cells, "top" if name == "the chosen ensemble" else ""))
    caption = (
        "Ensembles of the trained candidates that no other beats in both validation NLL and a total cost, before any "
        "temperature. FLOPs and latency are those of all members for one image; latency by one thread."
    )
    head = ("front", "members", "#parameters", "#FLOPs", "#ms", "#validation NLL", "#test NLL", "#test accuracy")
    body = f'<div class="figures">{"".join(drawings)}</div>' if drawings else ""
    return page.section("Accuracy and cost", body, page.table(caption, head, rows, "results") if rows else "")
