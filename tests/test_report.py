from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from loaded import PATIENCE
from report_fixture import make_minimal_folder, make_run_folder

from nni_hypens import report_html
from nni_hypens.report import verdict, write_report

pytestmark = pytest.mark.filterwarnings("error")

_VOID = {"meta", "br", "hr", "img", "link", "input"}
_HOSTILE = '</td></table><script>alert("x")</script><img src=http://e.x/a.png onerror=a()>&amp;\'$\\frac{\x00\ud800'


class _Page(HTMLParser):
    """Parses a page, insists on balanced tags, and collects what the tests ask for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"th", "td"} & set(self.stack[-1:]):
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def row(self, head: str) -> list[str]:
        """The cells of the first row with that heading; a member has one in the table of reasons, too."""
        return next(row[1:] for row in self.rows if row[0] == head)


def _edit(path: Path, change: Callable[[Any], Any]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(value) or value), encoding="utf-8")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run_dir: Path) -> _Page:
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return _Page(path)


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html")))


def test_page_stands_alone(page: _Page, run_dir: Path) -> None:
    assert "http" not in page.source and "@import" not in page.source and "url(//" not in page.source
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all(attrs["href"].startswith("#") for _, attrs in page.elements if "href" in attrs)
    assert not any("src" in attrs for _, attrs in page.elements)
    assert not list(run_dir.glob(".report*"))


def test_page_is_accessible(page: _Page) -> None:
    assert page.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert len(page.named("caption")) == len(page.named("table")) > 3
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.named("th"))
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.named("svg"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)


def test_every_section_is_there(page: _Page) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page.source)
    assert titles == [
        "What was run", "Results on test data", "Why each member is in", "The diversity dial",
        "Calibration and disagreement", "Uncertainty, and images from elsewhere", "Corrupted test images",
        "Architectures of the members", "Search history", "Cost", "Failed candidates", "How to repeat",
    ]  # fmt: skip
    assert len(page.named("svg")) == 2 + 2 + 2 + 3 + 5


def test_numbers_are_those_of_the_files(page: _Page, run_dir: Path) -> None:
    results = json.loads((run_dir / "results.json").read_text(encoding="utf-8"))

    def shown(metrics: dict[str, float]) -> list[str]:
        return [f"{metrics['accuracy']:.2%}", *(f"{metrics[key]:.4f}" for key in ("nll", "ece", "brier", "aurc"))]

    assert page.row("Ensemble")[:5] == shown(results["ensemble"])
    assert page.row("Ensemble before temperature")[:5] == shown(results["ensemble_uncalibrated"])
    best = results["best_member"]
    assert page.row(f"Best member ({best['id']})")[:5] == shown(best)
    assert page.row("Baseline: deep ensemble")[:5] == shown(results["baselines"][0])
    trained = [row for row in results["candidates"] if "test" in row]
    assert len(trained) == 7
    for row in trained:
        cells = page.row(row["id"])
        assert cells[:5] == shown(row["test"])
        assert cells[5:7] == ["–" if row["lam"] is None else f"{row['lam']:.2f}", str(row["shared_edges"])]
        assert cells[7] == ("0.333" if row["is_member"] else "–")
    heads = [row[0] for row in page.rows]
    members = [heads.index(row["id"]) for row in results["members"]]
    assert max(members) < min(heads.index(row["id"]) for row in trained if not row["is_member"])


def test_cost_failure_command_and_settings(page: _Page) -> None:
    assert page.row("training") == ["55.0", "55.0%"] and page.row("selection and calibration") == ["2.5", "2.5%"]
    assert page.row("all stages") == ["100.0", "100.0%"] and page.row("by the clock") == ["101.2", ""]
    assert page.row("c007") == ["RuntimeError: loss is not finite"]
    assert "nni-hypens run --data digits --space one_cell --seed 0" in page.text
    assert page.row("torch") == ["2.14.1"] and page.row("epochs") == ["20"] and page.row("seed") == ["0"]
    assert page.row("sizes") == ["train 1077, validation 120, test 200"]


@pytest.mark.parametrize(
    ("ours", "best", "outcome", "words"),
    [
        ((0.9, 0.3), (0.85, 0.5), "better", ["more accurate", "+5.00 points", "10 of 200", "and has a lower (better)"]),
        ((0.8, 0.6), (0.85, 0.5), "worse", ["less accurate", "-5.00 points", "and has a higher (worse) NLL"]),
        ((0.8, 0.4), (0.85, 0.5), "mixed", ["less accurate", "but has a lower (better) NLL"]),
        ((0.85, 0.4), (0.85, 0.5), "better", ["is as accurate as", "(85.00% against 85.00%)", "and has a lower"]),
        ((0.85, 0.50001), (0.85, 0.5), "equal", ["is as accurate as", "the same NLL (0.5000 against 0.5000)"]),
    ],
)
def test_verdict(ours: tuple[float, float], best: tuple[float, float], outcome: str, words: list[str]) -> None:
    keys = ("accuracy", "nll")
    results = {"ensemble": dict(zip(keys, ours, strict=True)), "best_member": dict(zip(keys, best, strict=True))}
    found, sentence = verdict({**results, "members": [{}, {}]}, 200)
    assert found == outcome and sentence.startswith("The ensemble of 2 members ") and sentence.count(". ") == 0
    for word in words:
        assert word in sentence


def test_better_members_and_baselines_are_named(copy: Path) -> None:
    def change(results: Any) -> None:
        results["baselines"] = [{"name": "deep", "accuracy": 0.5, "nll": 0.0123}, {"name": "random", "nll": 9.0}]
        results["members"][1]["nll"] = results["best_member"]["nll"] - 0.01

    _edit(copy / "results.json", change)
    text = _Page(write_report(copy)).text
    assert "On test data these baselines have a lower NLL than the ensemble: deep (0.0123)." in text
    name = json.loads((copy / "results.json").read_text(encoding="utf-8"))["members"][1]["id"]
    assert re.search(rf"these members have a lower NLL than the best member: [^.]*{name} \(", text)


def test_stopped_candidates_are_in_the_table_without_test_metrics(copy: Path) -> None:
    stopped = {"id": "c001", "status": "stopped", "epoch": 5, "validation": {"nll": 0.4321, "accuracy": 0.9}}
    _edit(copy / "candidates" / "c001" / "metrics.json", lambda value: {**value, **stopped})
    _edit(copy / "results.json", lambda value: {
        **value, "candidates": [stopped if row["id"] == "c001" else row for row in value["candidates"]]
    })  # fmt: skip
    page = _Page(write_report(copy))
    row = page.row("c001, stopped after epoch 5: validation NLL 0.4321")
    assert row[:5] == ["–"] * 5 and row[-1] == "–" and "candidates stopped early" in page.text
    assert "c001" not in [cells[0] for cells in page.rows]


def test_accuracy_and_cost(copy: Path) -> None:
    measured = {"latency_ms": 0.5, "validation_nll": 0.125, "test_nll": 0.25, "test_accuracy": 0.75}
    big, small = ({"members": m, "parameters": p, "flops": f, **measured} for m, p, f in
                  ((["a", "b"], 12_345, 2_500_000), (["a"], 7, 8)))  # fmt: skip
    rows = [{"by": "parameters", "chosen": False, **small, "validation_nll": 0.5},
            {"by": "parameters", "chosen": True, **big}, {"by": "flops", "chosen": True, **big}]  # fmt: skip
    _edit(copy / "results.json", lambda value: {**value, "cost_front": {"chosen": big, "rows": rows}})
    page = _Page(write_report(copy))
    assert "Accuracy and cost" in page.text
    shown = ["12,345", "2.5 M", "0.50", "0.1250", "0.2500", "75.00%"]
    assert page.row("the chosen ensemble") == ["a, b", *shown]
    found = [cells[1] for cells in page.rows if cells[0] in ("by parameters", "by FLOPs")]
    assert found == ["a", "a, b (chosen)", "a, b (chosen)"]


@pytest.mark.parametrize(("method", "said"), [("spread", "best of each part"), ("ensemble", "greedily"), (None, None)])
def test_the_report_names_the_ranking(copy: Path, method: str | None, said: str | None) -> None:
    found = {"spearman": 0.5, "candidates": 7, **({"method": method} if method else {})}
    _edit(copy / "results.json", lambda value: {**value, "ranking": found})
    page = _Page(write_report(copy))
    assert ("candidates chosen by" in page.text) == (said is not None) and (said or "+0.50") in page.text


@pytest.mark.parametrize(("spearman", "said"), [(0.71, False), (0.05, True), (-0.4, True), (None, False)])
def test_a_ranking_that_says_little_is_warned_of(copy: Path, spearman: float | None, said: bool) -> None:
    _edit(copy / "results.json", lambda value: {**value, "ranking": {"spearman": spearman, "candidates": 7}})
    page = _Page(write_report(copy))
    assert ("close to chance" in page.text) == said and (spearman is None) == ("supernet's ranking" not in page.text)
    if spearman is not None:
        assert f"{spearman:+.2f} with the NLL after training" in page.text


def test_minimal_folder(tmp_path: Path) -> None:
    page = _Page(write_report(make_minimal_folder(tmp_path / "small")))
    assert "Equal. The ensemble is as accurate as its best member (50.00% against 50.00%)" in page.text
    assert page.row("Ensemble") == ["50.00%", "1.2500", "–", "–", "–", "–", "–", ""]
    assert "nni-hypens run small/config.yaml" in page.text and not page.named("svg")


def test_one_member(tmp_path: Path) -> None:
    page = _Page(write_report(make_run_folder(tmp_path, n_members=1)))
    assert "The ensemble of 1 member " in page.text and "With one member there is nothing to average" in page.text
    assert not any("Pairwise" in attrs["aria-label"] for attrs in page.named("svg"))


def test_large_cells_and_choices(tmp_path: Path) -> None:
    page = _Page(write_report(make_run_folder(tmp_path, cells="darts", n_members=5)))
    labels = [attrs["aria-label"] for attrs in page.named("svg")]
    assert sum(label.startswith("normal cell: ") for label in labels) == 5
    assert sum(label.startswith("reduce cell: ") for label in labels) == 5
    assert sum(row[0] == "stem" for row in page.rows) == 5


def test_everything_optional_may_be_missing_or_null(copy: Path) -> None:
    shutil.rmtree(copy / "search")
    for name in ("metrics.json", "predictions.npz"):
        (copy / "candidates" / "c000" / name).unlink()

    def drop(results: Any) -> Any:
        for row in results["candidates"]:
            row["lam"] = None
        kept = {"ensemble", "best_member", "members", "candidates"}
        return {key: value if key in kept else None for key, value in results.items()}

    _edit(copy / "results.json", drop)
    _edit(copy / "candidates.json", lambda rows: [{**row, "lam": None, "source": "draw"} for row in rows])
    page = _Page(write_report(copy))
    assert [label for label in ("Search history", "Cost", "The diversity dial") if label in page.text] == []
    assert "200 test examples" in page.text  # counted in predictions.npz
    assert not any("(differs)" in attrs["aria-label"] for attrs in page.named("svg"))


def test_ids_do_not_lead_out_of_the_folder(copy: Path) -> None:
    for name in ("../../outside", str(copy.parent / "outside"), "a\x00b"):
        _edit(copy / "candidates.json", lambda rows, name=name: rows[-1].update(id=name))
        (copy.parent / "outside").mkdir(exist_ok=True)
        (copy.parent / "outside" / "metrics.json").write_text('{"status": "failed", "error": "was read"}')
        assert "was read" not in _Page(write_report(copy)).text


def _spoil(value: Any) -> Any:
    """Put hostile text in place of every text value except the few that the report matches on."""
    if isinstance(value, dict):
        keep = {"status", "source"}
        return {key: item if key in keep else _spoil(item) for key, item in value.items()}
    if isinstance(value, list) and value and str(value[0]).startswith("node_"):
        return [value[0], value[1], _spoil(value[2])]  # a group that is no longer a node's would not be drawn
    if isinstance(value, list):
        return [_spoil(item) for item in value]
    return f"{value}{_HOSTILE}" if isinstance(value, str) else value


def test_hostile_text_is_escaped(copy: Path) -> None:
    _edit(copy / "results.json", _spoil)
    _edit(copy / "results.json", lambda results: results["cost"].update({f"{_HOSTILE}_s": 1.0, _HOSTILE: 2}))
    _edit(copy / "candidates.json", _spoil)
    _edit(copy / "candidates.json", lambda rows: [row["edges"].append([_HOSTILE, None, _HOSTILE]) for row in rows][:0])
    _edit(copy / "search" / "base.json", lambda base: {f"{key}{_HOSTILE}": _HOSTILE for key in base})
    with open(copy / "search" / "history.csv", "w", newline="", encoding="utf-8") as file:
        visible = _HOSTILE[:-2]
        csv.writer(file).writerows([["epoch", "phase", "loss"], [1, visible, 2], [2, f"b{visible}", 1]])
    text = "".join(c for c in _HOSTILE if c.isprintable())
    config = {"data": text, "command": text, text: {text: [text]}, "versions": {text: text}}
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    page = _Page(write_report(copy))
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert not any(key.startswith("on") or key == "src" for _, attrs in page.elements for key in attrs)
    assert page.named("table") and len(page.named("svg")) == 2 + 2 + 2 + 3 + 1
    assert page.text.count('<script>alert("x")</script>') > 20  # as text, where it does no harm


def test_report_is_repeatable(copy: Path) -> None:
    first = write_report(copy).read_bytes()
    assert write_report(copy).read_bytes() == first


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_contrast_in_both_schemes() -> None:
    schemes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in report_html.CSS.split("@media (prefers")[:2]]
    assert len(schemes) == 2 and schemes[0].keys() == schemes[1].keys()
    for scheme in schemes:
        for ink in ("ink", "muted", "first", "second"):
            for paper in ("page", "card"):
                low, high = sorted(_luminance(scheme[name]) for name in (ink, paper))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper, scheme)


_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(_CHROMIUM is None, reason="no chromium on the PATH to render the page with")
@pytest.mark.parametrize("folder", ["full", "darts", "minimal", "long"])
def test_page_fits_a_phone(tmp_path: Path, folder: str) -> None:
    if folder == "minimal":
        root = make_minimal_folder(tmp_path / "run")
    else:
        root = make_run_folder(tmp_path / "run", cells="darts" if folder == "darts" else "one_cell")
    if folder == "long":
        _edit(root / "results.json", lambda results: results["baselines"][0].update(name="n" * 300))
        (root / "config.yaml").write_text(f"data: {'d' * 300}\nspace: {'s' * 300}\ncommand: {'c' * 300}\n")
    source = html.escape(write_report(root).read_text(encoding="utf-8"))
    # Chromium's smallest window is wider than a phone, so the page is looked at through a frame of 390 pixels.
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe width="390" height="800" style="border:0" srcdoc="{source}"></iframe><p id="out"></p><script>'
        "onload = () => { const d = document.querySelector('iframe').contentDocument; out.textContent = "
        "`width ${d.documentElement.scrollWidth} height ${d.documentElement.scrollHeight} "
        "svg ${[...d.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().height < 40).length}`; }</script>",
        encoding="utf-8",
    )
    command = [
        str(_CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=5000", "--dump-dom", frame.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    found = re.search(r'id="out">width (\d+) height (\d+) svg (\d+)<', done.stdout)
    assert found, done.stdout[-500:]
    width, height, flat = map(int, found.groups())
    assert width <= 390 and height > 800 and flat == 0
