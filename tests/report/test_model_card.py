"""The model card: its numbers, what it leaves out, and names that would be markup."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.report.markdown import literal, table
from nni_hypens.report.model_card import describes, model_card, write_model_card
from nni_hypens.utils.run_files import MODEL_CARD, MODEL_CARD_MARK

HOSTILE = [
    "<script>alert(1)</script>", "a|b", "a\nb\r\n# c", "[x](javascript:alert(1))", "![x](http://evil.example/x.png)",
    "`code`", "**bold** _it_ ~~gone~~", "</td></table>", "&lt;b&gt;", "http://evil.example", "www.evil.example",
    "a@evil.example", "\u202etxt.exe", "\x1b[2J", "```\nimport os\n```", "$x^2$", "\\", "\ud800", "---", "- [ ] x",
    "<!-- x", "x -->", "{: onclick=alert(1) }",
]  # fmt: skip


@pytest.fixture
def results(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "results.json").read_text())


@pytest.fixture
def metadata(results: dict[str, Any]) -> dict[str, Any]:
    members = results["members"]
    return {
        "class_names": results["data"]["class_names"], "input": results["data"]["input_spec"], "input_layout": "NHWC",
        "input_values": "raw",
        "input_range": [0.0, 16.0],
        "members": [row["id"] for row in members], "weights": [row["weight"] for row in members],
        "temperature": results["temperature"], "versions": {"torch": "2.14.1", "nni_hypens": None},
        "conformal": {"score": "lac", "images": 1, "probabilities": [0.5]},
    }  # fmt: skip


def cells(card: str, head: str) -> list[str]:
    """The cells of the first row with that heading."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.splitlines() if line.startswith("|")]
    return next(row[1:] for row in rows if row[0] == head)


def test_numbers_are_those_of_the_results(results: dict[str, Any], metadata: dict[str, Any]) -> None:
    card = model_card("model.onnx", metadata, {**results, "chance": {"accuracy": 0.125}})
    assert "right for 12.50%" in card
    measured, row = results["ensemble"], results["intervals"]["rows"][0]
    accuracy, nll, ece, *_ = cells(card, "this ensemble")
    low, high = row["accuracy"]["interval"]
    assert accuracy == f"{measured['accuracy']:.2%} ({low:.2%} to {high:.2%})"
    assert nll.startswith(f"{measured['nll']:.4f} ({row['nll']['interval'][0]:.4f} to ")
    assert ece == f"{measured['ece']:.4f}"
    assert f"top 2: {results['top_k'][0]['top_k_2']:.2%}, top 3" in card
    member = results["members"][1]
    assert cells(card, member["id"])[:2] == [f"{member['weight']:.3f}", f"{member['accuracy']:.2%}"]
    sets = results["prediction_sets"]["rows"][0]
    assert (
        cells(card, "80%")[0].startswith(f"{sets['measured']:.2%} ")
        and cells(card, "80%")[1] == f"{sets['mean_size']:.2f}"
    )
    assert "1077 train, 120 validation, 200 test" in card and "Source: digits" in card
    assert [cells(card, str(i)) for i in range(10)] == [[str(i)] for i in range(10)]
    assert "noise images with an AUROC of 0.812" in card and "85.0% at severity 1" in card
    assert cells(card, "torch") == ["–", "2.14.1"] and "float32, N x 8 x 8 x 1, 0 for black and 16 for white" in card


def test_how_to_load_each_format(metadata: dict[str, Any]) -> None:
    onnx = model_card("model.onnx", metadata, None)
    assert "InferenceSession('model.onnx')" in onnx and "predict model.onnx IMAGE" in onnx
    plain = {**metadata, "input_layout": "NCHW", "input_values": "normalised"}
    pt2 = model_card("model.pt2", plain, None)
    assert (
        "torch.export.load('model.pt2')" in pt2
        and "N x 1 x 8 x 8" in pt2
        and "normalised" in pt2
        and "predict model.pt2 --trust-pt2" in pt2
    )
    assert "`images` is uint8, N x 8" in model_card("m.onnx", {**metadata, "input_values": "uint8"}, None)
    for card in (onnx, pt2):  # the code is Python, whatever the file is called
        compile(re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1), "card", "exec")
    odd = "a'\n```\n<b>.onnx"
    compile(re.search(r"```python\n(.*?)\n```\n", model_card(odd, metadata, None), re.DOTALL).group(1), "card", "exec")


def test_without_results_nothing_is_claimed(metadata: dict[str, Any]) -> None:
    card = model_card("model.onnx", metadata, None)
    assert "Not known" in card and "| this ensemble" not in card and "## Data" not in card and "severity" not in card


def test_results_of_another_ensemble_are_told_apart(results: dict[str, Any], metadata: dict[str, Any]) -> None:
    assert describes(results, metadata)
    assert not describes(results, {**metadata, "weights": [0.5, 0.3, 0.2]})
    assert not describes(results, {**metadata, "members": ["x", "y", "z"]})
    assert not describes({"members": 3}, metadata) and not describes({}, metadata)


def test_somebody_elses_card_is_kept(tmp_path: Path, metadata: dict[str, Any]) -> None:
    exported, card = tmp_path / "model.onnx", tmp_path / MODEL_CARD
    assert write_model_card(exported, metadata, None) == card and MODEL_CARD_MARK in card.read_text()
    assert write_model_card(tmp_path / "model.pt2", metadata, None) == card and "model.pt2" in card.read_text()
    card.write_text("# My own card\n")
    assert write_model_card(exported, metadata, None) is None and card.read_text() == "# My own card\n"
    card.unlink()
    card.symlink_to(tmp_path / "gone.md")
    assert write_model_card(exported, metadata, None) is None and card.is_symlink()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_and_never_markup(name: str) -> None:
    """As a renderer sees it: one cell with the text, no element that the card did not ask for."""
    markdown = pytest.importorskip("markdown", reason="markdown is not installed: pip install -e '.[docs]'")
    text = table(("number", "name"), [(0, name)])
    assert len(text.splitlines()) == 3 and text.isprintable() is False and text.replace("\n", "").isprintable()
    page = markdown.markdown(text, extensions=["tables", "fenced_code", "attr_list"])
    assert sorted(set(re.findall(r"<(/?\w+)", page))) == sorted(
        {tag for one in ("table", "thead", "tbody", "tr", "th", "td") for tag in (one, f"/{one}")}
    )
    assert page.count("<td") == 2 and "://" not in text and "www." not in text and "@" not in text


def test_a_card_of_hostile_names(results: dict[str, Any], metadata: dict[str, Any]) -> None:
    data = {**results["data"], "source": HOSTILE[2], "class_names": HOSTILE}
    hostile = {**results, "data": data, "calibration": {"method": HOSTILE[0]}}
    hostile["ood"]["sets"][0]["name"] = HOSTILE[3]
    card = model_card(HOSTILE[2] + ".onnx", {**metadata, "class_names": HOSTILE}, hostile)
    assert "<script" not in card and "](" not in card and "\n# c" not in card
    assert card.replace("\n", "").isprintable() and card.count("```") == 2
    assert [line for line in card.splitlines() if line.startswith("# ")] == [f"# {literal(HOSTILE[2] + '.onnx')}"]
    long = model_card("m.onnx", {**metadata, "class_names": [f"name {i}" for i in range(250)]}, None)
    assert "| 199 | name 199 |" in long and "| 200 |" not in long and "50 more" in long


@pytest.mark.parametrize("value", [3, "x", [], [1, None], {"rows": 3}, [{"interval": "x", "accuracy": 1, "name": 2}]])
def test_malformed_results_do_no_harm(results: dict[str, Any], metadata: dict[str, Any], value: object) -> None:
    for name in results:
        model_card("m.onnx", metadata, {**results, name: value})
        model_card("m.onnx", metadata, {**results, name: {"rows": value, "sets": value, "sizes": value}})
    model_card("m.onnx", metadata, dict.fromkeys(results, value))


def test_a_card_of_a_table(results: dict[str, Any], metadata: dict[str, Any]) -> None:
    spec = {"shape": [13], "scale": 1.0, "mean": [0.0] * 13, "std": [1.0] * 13}
    metadata |= {"input": spec, "input_layout": "shape", "input_range": None}
    results |= {"ood": {}, "corruptions": {}}
    text = model_card("model.onnx", metadata, results)
    assert "in rows of 13 numbers" in text and '{"inputs": inputs}' in text and "`inputs` is float32, N x 13," in text
    assert "image" not in text.lower().replace("imagedata", "")
