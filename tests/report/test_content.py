"""Files of a run folder that are missing, broken or hostile."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nni_hypens.errors import InputError
from nni_hypens.report import architectures, content, intervals, members as members_section
from nni_hypens.report.architectures import Architectures
from nni_hypens.report.content import RunContent, read_run
from nni_hypens.report.html import Figures, Heading
from tests.support.report_fixture import make_minimal_folder
from tests.support.report_page import edit, parse


@pytest.mark.parametrize("name", ["config.yaml", "candidates.json", "results.json"])
def test_missing_or_broken_file_is_named(copy: Path, name: str) -> None:
    (copy / name).write_text("{'a: [", encoding="utf-8")
    with pytest.raises(InputError, match=f"^{name}: got invalid (JSON|YAML)"):
        read_run(copy)
    (copy / name).write_text('"text"', encoding="utf-8")
    with pytest.raises(InputError, match=f"^{name}: got str; expected a (mapping|list)"):
        read_run(copy)
    (copy / name).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=f"^{name}: got bytes that are not UTF-8"):
        read_run(copy)
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"^{name}: got no such file"):
        read_run(copy)


def test_bad_values_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^run folder: got .*nowhere"):
        read_run(tmp_path / "nowhere")
    edit(copy / "results.json", lambda results: results["ensemble"].update(nll="low"))
    with pytest.raises(InputError, match="^results.json: ensemble.nll: got low"):
        read_run(copy)
    edit(copy / "results.json", lambda results: results.update(best_member=results["members"][0], ensemble=None))
    with pytest.raises(InputError, match="^results.json: ensemble: got NoneType"):
        read_run(copy)
    edit(copy / "results.json", lambda results: results.update(ensemble=results["best_member"]))
    edit(copy / "candidates.json", lambda rows: rows[0].update(edges=[["node_0", 1]]))
    with pytest.raises(InputError, match="^candidates.json: edges of c000: got .*node_0"):
        read_run(copy)
    edit(copy / "results.json", lambda results: results.update(cost=[1]))
    with pytest.raises(InputError, match="^results.json: cost: got list"):
        read_run(copy)
    edit(copy / "candidates.json", lambda rows: rows.append({"lam": 1}))
    with pytest.raises(InputError, match="^candidates.json: got .* id"):
        read_run(copy)


def test_pickled_predictions_are_refused(copy: Path) -> None:
    edit(copy / "results.json", lambda results: results.pop("data") and None)
    (copy / "candidates" / "c000" / "predictions.npz").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match="candidates/c000/predictions.npz: got no readable arrays"):
        read_run(copy)


def test_parts_and_rows_are_there_or_empty(tmp_path: Path) -> None:
    run = read_run(make_minimal_folder(tmp_path / "small"))
    assert run.part("cost") == {} and run.rows("intervals") == run.baselines == [] and run.base_candidate is None
    assert (run.name, run.n_test, run.base, [*run.members]) == ("small", None, None, [])


def test_test_images_are_counted_in_the_predictions(copy: Path) -> None:
    edit(copy / "results.json", lambda results: results.pop("data") and None)
    (copy / "candidates" / "c000" / "predictions.npz").unlink()
    assert read_run(copy).n_test == 200


def test_ids_do_not_lead_out_of_the_folder(copy: Path) -> None:
    (copy.parent / "outside").mkdir(exist_ok=True)
    (copy.parent / "outside" / "metrics.json").write_text('{"status": "failed", "error": "was read"}')
    for name in ("../../outside", str(copy.parent / "outside"), "a\x00b"):
        edit(copy / "candidates.json", lambda rows, name=name: rows[-1].update(id=name))
        assert "was read" not in [row.get("error") for row in read_run(copy).failed]


def test_of_many_members_the_heaviest_are_shown_one_by_one(run: RunContent, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.shown_members == list(run.members) and run.shown_note() == ""
    weights = dict(zip([member["id"] for member in run.members], (0.3, 0.2, 0.5), strict=True))
    members = [{**member, "weight": weights[member["id"]]} for member in run.members]
    monkeypatch.setattr(content, "MOST_SHOWN", 2)
    many = dataclasses.replace(run, members=members)
    assert many.shown_members == [members[0], members[2]] and many.shown_note()
    left, shown = members[1]["id"], [one["id"] for one in many.shown_members]
    cells = next(block for block in architectures.section(many).blocks if isinstance(block, Architectures))
    assert [article.title.partition(":")[0] for article in cells.articles] == shown
    reasons = members_section.section(many)
    assert [block.text for block in reasons.blocks if isinstance(block, Heading)] == shown
    assert left in parse(reasons).text  # in the table
    models = intervals.section(many)
    figures = next(block for block in models.blocks if isinstance(block, Figures)).figures
    assert all(f"member {left}" not in figure.svg for figure in figures) and f"member {left}" in parse(models).text
