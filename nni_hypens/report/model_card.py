"""`MODEL_CARD.md`, beside an exported file: what it is, how it was measured, and what it is not for.

It is made from the file's own metadata and the run's ``results.json``. Both may come from anybody, so that every name
is written as plain text, and a value that is missing or of another type is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nni_hypens.report.content import mappings
from nni_hypens.report.intervals import interval
from nni_hypens.report.markdown import literal, table
from nni_hypens.report.prediction_sets import TOP_K_PREFIX
from nni_hypens.report.text import MISSING, fixed, number, percent, plural
from nni_hypens.utils.files import write_text
from nni_hypens.utils.inputs import input_name, input_shape, is_image, noun, raw_shape, shape_text
from nni_hypens.utils.run_files import MODEL_CARD, MODEL_CARD_MARK, is_written_card

MOST_CLASSES = 200
_MODELS = {"ensemble": "this ensemble", "best_member": "its best member alone"}


def describes(results: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """Whether results are those of the exported ensemble: the same members with the same weights."""
    found = {str(row.get("id")): number(row.get("weight")) for row in mappings(results.get("members"))}
    wanted = dict(zip(metadata["members"], metadata["weights"], strict=True))
    return found.keys() == wanted.keys() and all(
        weight is not None and abs(weight - wanted[name]) < 1e-4 for name, weight in found.items()
    )


def write_model_card(exported: Path, metadata: Mapping[str, Any], results: Mapping[str, Any] | None) -> Path | None:
    """Write the card beside an exported file. A file of that name that this did not write is kept.

    Args:
        exported: The exported file.
        metadata: Its metadata, from `nni_hypens.ensemble.export.describe`.
        results: The content of ``results.json``, or None if it is not known.

    Returns:
        Path of the card; None if somebody else's file has its name.
    """
    path = exported.with_name(MODEL_CARD)
    if (path.is_symlink() or path.exists()) and not is_written_card(path):
        return None
    write_text(path, model_card(exported.name, metadata, results))
    return path


def model_card(file: str, metadata: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    """The card as Markdown; arguments are as for `write_model_card`."""
    classes = plural(len(metadata["class_names"]), "class").replace("classs", "classes")
    kind = "images" if is_image(metadata["input"]) else shape_text(metadata["input"])
    head = f"Tells {classes} apart in {kind}: an ensemble of {plural(len(metadata['members']), 'network')}."
    parts = {
        "": f"{head} Found and trained by nni_hypens.\n",
        "How to load it": _loading(file, metadata),
        "Classes": _classes(metadata["class_names"]),
        "Data": _data(results, noun(metadata["input"])),
        "Members": _members(metadata, results),
        "Test data": _scores(results),
        "Calibration": _calibration(metadata, results),
        "Limits": _limits(metadata, results),
        "Versions": _versions(metadata, results),
    }
    text = "".join(f"\n## {title}\n\n{part}" if title else f"\n{part}" for title, part in parts.items() if part)
    return f"# {literal(file)}\n\n{MODEL_CARD_MARK}\n{text}"


def _part(results: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    found = (results or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _loading(file: str, metadata: Mapping[str, Any]) -> str:
    spec, given, ends = metadata["input"], metadata["input_values"], metadata.get("input_range")
    sizes = input_shape(spec) if metadata["input_layout"] == "NCHW" else raw_shape(spec)
    shape, name = " x ".join(map(str, ("N", *sizes))), input_name(spec)
    values = "with the values of the training data"
    if given == "normalised":
        values = "scaled and normalised: (value / scale - mean) / std, with these three from the file's `input`"
    elif isinstance(ends, Sequence) and len(ends) == 2:
        values = f"{ends[0]:g} for black and {ends[1]:g} for white"
    kind = "uint8" if given == "uint8" else "float32"
    trust = "" if file.endswith(".onnx") else " --trust-pt2"
    if not trust:
        code = f"import onnxruntime\n\nsession = onnxruntime.InferenceSession({file!a})\n"
        code += f'probabilities = session.run(["probabilities"], {{"{name}": {name}}})[0]'
    else:
        code = f"import torch\n\nmodel = torch.export.load({file!a}).module()  # only if you trust who wrote it\n"
        code += f"probabilities = model(torch.from_numpy({name})).detach().numpy()"
    sets = f", and with `--coverage 0.9` shows the classes that an {noun(spec)} may have"
    given = "IMAGE ...`, which also brings pictures to this form" if is_image(spec) else "FILE ...`, which reads files"
    return (
        f"```python\n{code}  # N x {len(metadata['class_names'])}\n```\n\n"
        f"`{name}` is {kind}, {shape}, {values}. Or `nni-hypens predict {literal(file)}{trust} {given}"
        f"{sets if 'conformal' in metadata else ''}.\n"
    )


def _classes(names: Sequence[str]) -> str:
    rows = list(enumerate(names[:MOST_CLASSES]))
    rest = len(names) - len(rows)
    more = f"\n{rest} more are in the file's metadata, `class_names`.\n" if rest else ""
    return table(("number", "name"), rows) + more


def _data(results: Mapping[str, Any] | None, what: str) -> str:
    data = _part(results, "data")
    if not data:
        return ""
    sizes = _part(data, "sizes")
    counts = [
        f"{sizes[part]} {part}" for part in ("train", "validation", "test") if number(sizes.get(part)) is not None
    ]
    source = f"Source: {literal(data.get('source', 'not known'))}. " if data.get("source") is not None else ""
    listed = f"{what.capitalize()}s: {literal(', '.join(counts))}. " if counts else ""
    return (
        f"{source}{listed}Validation {what}s chose the members and fitted the temperature; test {what}s only measure.\n"
    )


def _members(metadata: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    known = {str(row.get("id")): row for row in mappings((results or {}).get("members"))}
    rows = []
    for name, weight in zip(metadata["members"], metadata["weights"], strict=True):
        row = known.get(name, {})
        cells = (percent(row.get("accuracy")), fixed(row.get("nll")), fixed(row.get("shared_edges"), 0))
        rows.append((name, fixed(weight, 3), *cells))
    return table(("member", "weight", "accuracy", "NLL", "edges shared with the base"), rows, 4)


def _scores(results: Mapping[str, Any] | None) -> str:
    if results is None:
        return "Not known: no `results.json` of this ensemble was beside it when it was exported.\n"
    known = {str(row.get("name")): row for row in mappings(_part(results, "intervals").get("rows"))}
    best = next((row for name, row in known.items() if name.startswith("best member (")), {})
    intervals = {"ensemble": known.get("ensemble", {}), "best_member": best}
    rows = []
    for key, name in _MODELS.items():
        scores, ends = _part(results, key), intervals[key]
        accuracy = f"{percent(scores.get('accuracy'))}{_ends(ends.get('accuracy'), percent)}"
        nll = f"{fixed(scores.get('nll'))}{_ends(ends.get('nll'), fixed)}"
        rows.append((name, accuracy, nll, *(fixed(scores.get(measure)) for measure in ("ece", "brier", "aurc"))))
    text = table(("model", "accuracy", "NLL (nats)", "ECE", "Brier", "AURC"), rows, 5)
    top = next((row for row in mappings(results.get("top_k")) if row.get("name") == "ensemble"), {})
    listed = [f"top {key.removeprefix(TOP_K_PREFIX)}: {percent(top[key])}" for key in sorted(top) if key != "name"]
    more = f" Top-k accuracy: {literal(', '.join(listed))}." if listed else ""
    chance = percent(_part(results, "chance").get("accuracy"))
    if chance != MISSING:
        more += f" Always naming the most frequent class of the test data would be right for {chance} of it."
    return f"{text}\nIn brackets: 95% bootstrap intervals over test data.{more}\n"


def _ends(score: Any, form: Any) -> str:
    ends = interval(score.get("interval")) if isinstance(score, Mapping) else None
    return "" if ends is None else f" ({form(ends[0])} to {form(ends[1])})"


def _calibration(metadata: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    method = _part(results, "calibration").get("method")
    average = "log-probabilities, renormalised" if metadata.get("pooling") == "log" else "probabilities"
    lines = [
        f"Weighted average of the members' {average}. Temperature of the ensemble: {fixed(metadata['temperature'], 3)}."
    ]
    if method is not None:
        lines.append(f"Method: {literal(method)}, fitted on validation data.")
    before, after = (number(_part(results, name).get("ece")) for name in ("ensemble_uncalibrated", "ensemble"))
    if before is not None and after is not None:
        lines.append(f"ECE on test data: {before:.4f} before the temperature, {after:.4f} after it.")
    rows = [
        (
            percent(row.get("coverage"), 0),
            f"{percent(row.get('measured'))}{_ends(row, percent)}",
            fixed(row.get("mean_size"), 2),
        )
        for row in mappings(_part(results, "prediction_sets").get("rows"))
    ]
    sets = table(("coverage of prediction sets", "measured on test data", "mean size"), rows, 2) if rows else ""
    return " ".join(lines) + "\n" + (f"\n{sets}" if sets else "")


def _limits(metadata: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    what = noun(metadata["input"])
    other, camera = ("shows something else", ", camera") if what == "image" else ("is of none of them", "")
    lines = [
        f"It names one of its classes for every {what}, also for one that {other}.",
        f"It was not measured on {what}s from another source{camera} or time than its test {what}s.",
        "It was not measured for groups of people or other parts of the data.",
        "The numbers are those of one run; another seed gives other networks.",
    ]
    for row in _foreign(results):
        lines[0] += f" Confidence tells test images from {literal(row[0])} images with an AUROC of {row[1]}."
    corrupted = _corrupted(results)
    if corrupted:
        lines.insert(1, f"Accuracy on corrupted test images: {corrupted} (mean over all kinds of corruption).")
    if "conformal" in metadata:
        lines.append(
            f"Prediction sets hold the true class as often as measured above, on average over {what}s like the test "
            f"{what}s. They promise nothing for a single class."
        )
    return "".join(f"- {line}\n" for line in lines)


def _foreign(results: Mapping[str, Any] | None) -> Iterable[tuple[object, str]]:
    for row in mappings(_part(results, "ood").get("sets")):
        value = fixed(_part(row, "auroc").get("confidence"), 3)
        if value != MISSING:
            yield row.get("name"), value


def _corrupted(results: Mapping[str, Any] | None) -> str:
    found: dict[int, list[float]] = {}
    for row in mappings(_part(results, "corruptions").get("rows")):
        value, severity = number(row.get("accuracy")), row.get("severity")
        if row.get("model") == "ensemble" and isinstance(severity, int) and severity > 0 and value is not None:
            found.setdefault(severity, []).append(value)
    shown = [(severity, sum(values) / len(values)) for severity, values in sorted(found.items())]
    return ", ".join(f"{mean:.1%} at severity {severity}" for severity, mean in shown)


def _versions(metadata: Mapping[str, Any], results: Mapping[str, Any] | None) -> str:
    exported, trained = metadata["versions"], _part(results, "versions")
    names = sorted({*exported, *map(str, trained)})
    rows = [(name, trained.get(name, MISSING), exported.get(name) or MISSING) for name in names]
    return table(("package", "evaluated with", "exported with"), rows)
