from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from nni_hypens.report.page import write_report
from tests.support.report_fixture import make_minimal_folder, make_run_folder
from tests.support.report_page import Page, edit

pytestmark = pytest.mark.filterwarnings("error")

_HOSTILE = '</td></table><script>alert("x")</script><img src=http://e.x/a.png onerror=a()>&amp;\'$\\frac{\x00\ud800'


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run_dir: Path) -> Page:
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    return Page(path)


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("report.html")))


def test_page_stands_alone(page: Page, run_dir: Path) -> None:
    assert "http" not in page.source and "@import" not in page.source and "url(//" not in page.source
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all(attrs["href"].startswith("#") for _, attrs in page.elements if "href" in attrs)
    sources = [attrs["src"] for _, attrs in page.elements if "src" in attrs]
    assert len(sources) > 10 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(page.source) < 2_000_000
    assert not list(run_dir.glob(".report*"))


def test_page_is_accessible(page: Page) -> None:
    assert page.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert len(page.named("caption")) == len(page.named("table")) > 3
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.named("th"))
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in page.named("svg"))
    assert page.named("img") and all(re.fullmatch(r"Test image \d+, \d", attrs["alt"]) for attrs in page.named("img"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    links = [attrs["href"] for attrs in page.named("a")]
    assert links and {link.removeprefix("#") for link in links} <= set(ids)
    order = [tag for tag, _ in page.elements]
    assert order[order.index("body") + 1] == "a" and "Skip to" in page.source  # first for the keyboard


def test_every_section_is_there(page: Page) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page.source)
    assert titles == [
        "The ensemble against its members and others", "Results on test data", "The diversity dial",
        "Why each member is in", "Calibration and disagreement", "Uncertain and wrong images",
        "Uncertainty, and images from elsewhere", "Corrupted test images", "Architectures of the members", "Cost",
        "Search history", "What was run", "Failed candidates", "How to repeat",
    ]  # fmt: skip
    assert re.findall(r'<li><a href="#part-[a-z-]*">(.*?)</a>', page.source) == titles
    assert len(page.named("svg")) == 2 + 2 + 2 + 2 + 3 + 5


def test_numbers_are_those_of_the_files(page: Page, run_dir: Path) -> None:
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


def test_cost_failure_command_and_settings(page: Page) -> None:
    assert page.row("training") == ["55.0", "55.0%"] and page.row("selection and calibration") == ["2.5", "2.5%"]
    assert page.row("all stages") == ["100.0", "100.0%"] and page.row("by the clock") == ["101.2", ""]
    assert page.row("c007") == ["RuntimeError: loss is not finite"]
    assert "nni-hypens run --data digits --space one_cell --seed 0" in page.text
    assert page.row("torch") == ["2.14.1"] and page.row("epochs") == ["20"] and page.row("seed") == ["0"]
    assert page.row("sizes") == ["train 1077, validation 120, test 200"]


def test_stopped_candidates_are_in_the_table_without_test_metrics(copy: Path) -> None:
    stopped = {"id": "c001", "status": "stopped", "epoch": 5, "validation": {"nll": 0.4321, "accuracy": 0.9}}
    edit(copy / "candidates" / "c001" / "metrics.json", lambda value: {**value, **stopped})
    edit(copy / "results.json", lambda value: {
        **value, "candidates": [stopped if row["id"] == "c001" else row for row in value["candidates"]]
    })  # fmt: skip
    page = Page(write_report(copy))
    row = page.row("c001, stopped after epoch 5: validation NLL 0.4321")
    assert row[:5] == ["–"] * 5 and row[-1] == "–" and "candidates stopped early" in page.text
    assert "c001" not in [cells[0] for cells in page.rows]


def test_accuracy_and_cost(copy: Path) -> None:
    measured = {"latency_ms": 0.5, "validation_nll": 0.125, "test_nll": 0.25, "test_accuracy": 0.75}
    big, small = ({"members": m, "parameters": p, "flops": f, **measured} for m, p, f in
                  ((["a", "b"], 12_345, 2_500_000), (["a"], 7, 8)))  # fmt: skip
    rows = [{"by": "parameters", "chosen": False, **small, "validation_nll": 0.5},
            {"by": "parameters", "chosen": True, **big}, {"by": "flops", "chosen": True, **big}]  # fmt: skip
    edit(copy / "results.json", lambda value: {**value, "cost_front": {"chosen": big, "rows": rows}})
    page = Page(write_report(copy))
    assert "Accuracy and cost" in page.text
    shown = ["12,345", "2.5 M", "0.50", "0.1250", "0.2500", "75.00%"]
    assert page.row("the chosen ensemble") == ["a, b", *shown]
    found = [cells[1] for cells in page.rows if cells[0] in ("by parameters", "by FLOPs")]
    assert found == ["a", "a, b (chosen)", "a, b (chosen)"]


@pytest.mark.parametrize(
    ("method", "said"),
    [("spread", "best of each part"), ("ensemble", "greedily"), ("promising", "by supernet and size"), (None, None)],
)
def test_the_report_names_the_ranking(copy: Path, method: str | None, said: str | None) -> None:
    found = {"spearman": 0.5, "candidates": 7, **({"method": method} if method else {})}
    edit(copy / "results.json", lambda value: {**value, "ranking": found})
    page = Page(write_report(copy))
    assert ("candidates chosen by" in page.text) == (said is not None) and (said or "+0.50") in page.text


def test_minimal_folder(tmp_path: Path) -> None:
    page = Page(write_report(make_minimal_folder(tmp_path / "small")))
    assert "Equal. The ensemble is as accurate as its best member (50.00% against 50.00%)" in page.text
    assert page.row("Ensemble") == ["50.00%", "1.2500", "–", "–", "–", "–", "–", ""]
    assert "nni-hypens run small/config.yaml" in page.text and not page.named("svg")


def test_one_member(tmp_path: Path) -> None:
    page = Page(write_report(make_run_folder(tmp_path, n_members=1)))
    assert "The ensemble of 1 member " in page.text and "With one member there is nothing to average" in page.text
    assert not any("Pairwise" in attrs["aria-label"] for attrs in page.named("svg"))


def test_large_cells_and_choices(tmp_path: Path) -> None:
    page = Page(write_report(make_run_folder(tmp_path, cells="darts", n_members=5)))
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
            row["lam"] = row["shared_edges"] = None
        kept = {"ensemble", "best_member", "members", "candidates"}
        return {key: value if key in kept else None for key, value in results.items()}

    edit(copy / "results.json", drop)
    edit(copy / "candidates.json", lambda rows: [{**row, "lam": None, "source": "draw"} for row in rows])
    page = Page(write_report(copy))
    assert [label for label in ("Search history", "Cost", "The diversity dial") if label in page.text] == []
    assert "200 test examples" in page.text  # counted in predictions.npz
    assert not any("(differs)" in attrs["aria-label"] for attrs in page.named("svg"))
    assert "Solid" not in page.text and "Dashed" not in page.text


def test_edges_are_held_against_the_base_where_it_is_no_candidate(copy: Path) -> None:
    """As it seldom is with adaptive training."""
    labels = {attrs["aria-label"] for attrs in Page(write_report(copy)).named("svg")}
    base = next(row for row in json.loads((copy / "candidates.json").read_text()) if row["source"] == "base")
    edit(copy / "results.json", lambda results: {**results, "base_edges": base["edges"]})
    edit(copy / "candidates.json", lambda rows: [{**row, "source": "large"} for row in rows])
    page = Page(write_report(copy))
    cells = {label for label in labels if "(shared)" in label or "(differs)" in label}
    assert cells and cells <= {attrs["aria-label"] for attrs in page.named("svg")} and "Solid" in page.text


def test_a_ranking_that_did_not_choose_alone_is_not_blamed(copy: Path) -> None:
    for method, blamed in (("spread", True), ("promising", False)):
        found = {"spearman": -0.4, "candidates": 8, "method": method}
        edit(copy / "results.json", lambda results, found=found: {**results, "ranking": found})
        assert ("close to chance" in Page(write_report(copy)).text) == blamed


def test_ids_do_not_lead_out_of_the_folder(copy: Path) -> None:
    for name in ("../../outside", str(copy.parent / "outside"), "a\x00b"):
        edit(copy / "candidates.json", lambda rows, name=name: rows[-1].update(id=name))
        (copy.parent / "outside").mkdir(exist_ok=True)
        (copy.parent / "outside" / "metrics.json").write_text('{"status": "failed", "error": "was read"}')
        assert "was read" not in Page(write_report(copy)).text


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
    edit(copy / "results.json", _spoil)
    edit(copy / "results.json", lambda results: results["cost"].update({f"{_HOSTILE}_s": 1.0, _HOSTILE: 2}))
    edit(copy / "examples.json", _spoil)
    edit(copy / "candidates.json", _spoil)
    edit(copy / "candidates.json", lambda rows: [row["edges"].append([_HOSTILE, None, _HOSTILE]) for row in rows][:0])
    edit(copy / "search" / "base.json", lambda base: {f"{key}{_HOSTILE}": _HOSTILE for key in base})
    with open(copy / "search" / "history.csv", "w", newline="", encoding="utf-8") as file:
        visible = _HOSTILE[:-2]
        csv.writer(file).writerows([["epoch", "phase", "loss"], [1, visible, 2], [2, f"b{visible}", 1]])
    text = "".join(c for c in _HOSTILE if c.isprintable())
    config = {"data": text, "command": text, text: {text: [text]}, "versions": {text: text}}
    (copy / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    page = Page(write_report(copy))
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert not any(key.startswith("on") or key == "src" for _, attrs in page.elements for key in attrs)
    assert page.named("table") and len(page.named("svg")) == 2 + 2 + 2 + 2 + 3 + 1
    assert page.text.count('<script>alert("x")</script>') > 20  # as text, where it does no harm


def test_how_to_repeat_has_all_that_is_needed(page: Page) -> None:
    last = page.source[page.source.index("<h2>How to repeat") :]
    assert "nni-hypens run --data digits" in last
    for name, value in (("seed", "0"), ("nni", "3.0"), ("torch", "2.14.1")):
        assert f'<th scope="row">{name}</th><td>{value}</td>' in last


def test_report_is_repeatable(copy: Path) -> None:
    first = write_report(copy).read_bytes()
    assert write_report(copy).read_bytes() == first
