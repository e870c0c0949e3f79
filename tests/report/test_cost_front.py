"""The section on accuracy against cost."""

from __future__ import annotations

from nni_hypens.report.content import RunContent
from nni_hypens.report.cost_front import cost_front_data, draw_cost_front, section
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg


def test_cost_front_data_is_exact() -> None:
    rows = [
        {"by": "parameters", "members": ["a", "b"], "parameters": 30, "flops": 3, "validation_nll": 0.25,
         "chosen": True},
        {"by": "parameters", "members": ["a"], "parameters": 10, "flops": 1, "validation_nll": 0.5, "chosen": False},
        {"by": "parameters", "members": ["a"], "parameters": None, "flops": 1, "validation_nll": 0.5, "chosen": False},
        {"by": "flops", "members": ["a"], "parameters": 10, "flops": 1, "validation_nll": 0.5, "chosen": False},
    ]  # fmt: skip
    found = {"rows": rows, "chosen": rows[0]}
    front = cost_front_data(found, "parameters")
    assert front == ("parameters", ((10, 0.5, 1), (30, 0.25, 2)), (30, 0.25, 2), True)
    assert cost_front_data(found, "flops") == ("flops", ((1, 0.5, 1),), (3, 0.25, 2), False)
    assert cost_front_data({}, "flops") == ("flops", (), None, False)
    for cost in ("parameters", "flops"):
        parsed = check_svg(draw_cost_front(cost_front_data(found, cost), "front"), "front")
        assert "the chosen ensemble" in parsed.text and "validation NLL" in parsed.text
    assert "2 with 30: 0.2500." in draw_cost_front(front, "f")
    assert "the chosen ensemble" not in draw_cost_front(front._replace(chosen=None), "f")


def test_table_has_every_ensemble(run: RunContent) -> None:
    measured = {"latency_ms": 0.5, "validation_nll": 0.125, "test_nll": 0.25, "test_accuracy": 0.75}
    big = {"members": ["a", "b"], "parameters": 12_345, "flops": 2_500_000, **measured}
    small = {"members": ["a"], "parameters": 7, "flops": 8, **measured, "validation_nll": 0.5}
    rows = [
        {"by": "parameters", "chosen": False, **small},
        {"by": "parameters", "chosen": True, **big},
        {"by": "flops", "chosen": True, **big},
    ]
    page = parse(section(with_results(run, cost_front={"chosen": big, "max_size": 2, "rows": rows})))
    assert "Ensembles of 1 to 2 candidates: validation NLL by FLOPs" in page.text
    measured_text = ["12,345", "2.5 M", "0.50", "0.1250", "0.2500", "75.00%"]
    assert page.row("by parameters and FLOPs") == ["a, b (chosen)", *measured_text]
    assert [cells[:2] for cells in page.rows[1:]] == [["by parameters", "a"], page.rows[2][:2]]  # each once
    assert len(page.named("svg")) == 2
    page = parse(section(with_results(run, cost_front={"chosen": big, "rows": rows[:1]})))
    assert page.row("the chosen ensemble") == ["a, b", *measured_text]
    assert "Ensembles of the trained candidates: validation NLL by" in page.text  # of an earlier version


def test_a_run_without_costs_has_no_section(run: RunContent) -> None:
    assert section(with_results(run, cost_front=None)) is None
