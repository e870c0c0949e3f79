"""The section on corrupted test images."""

from __future__ import annotations

import pytest

from nni_hypens.report.content import RunContent
from nni_hypens.report.corruptions import draw_robustness, robustness_data, section
from tests.support.report_page import parse, with_results
from tests.support.report_svg import check_svg


def test_curves_are_means_over_corruptions() -> None:
    rows = [
        {"model": model, "severity": severity, "accuracy": 0.9 - severity * 0.1 * k, "nll": severity * k}
        for model in ("ensemble", "best member") for severity in (0, 1, 1) for k in (1, 2)
    ]  # fmt: skip
    curves = robustness_data([*rows, {"model": "x", "severity": None}, {}])
    assert [curve.model for curve in curves] == ["ensemble", "best member"]
    assert curves[0].points == ((0, pytest.approx(0.9), 0.0), (1, pytest.approx(0.75), 1.5))
    parsed = check_svg(draw_robustness(curves, "r"), "r")
    assert "ensemble: accuracy 90.0% to 75.0%, NLL 0.000 to 1.500." in parsed.label
    assert {"ensemble", "best member", "NLL"} <= set(parsed.text)


def test_tables_have_every_severity(run: RunContent) -> None:
    page = parse(section(run))
    accuracy, nll = (row[1:] for row in page.rows if row[0] == "jpeg")
    assert accuracy == [f"{0.95 - 0.1 * s:.0%} / {0.85 - 0.1 * s:.0%}" for s in range(1, 6)]
    assert nll == [f"{0.2 + 0.3 * s:.2f} / {0.3 + 0.3 * s:.2f}" for s in range(1, 6)]
    assert "100 of 200 test images" in page.text


def test_what_was_not_measured_is_said(run: RunContent) -> None:
    assert "no <raw>" in parse(section(with_results(run, corruptions={"skipped": "no <raw>"}))).text
    assert section(with_results(run, corruptions=None)) is None


_ODD = {"corruption": [], "model": {}, "severity": 1, "accuracy": 0, "nll": 0}


@pytest.mark.parametrize("value", [3, "x", [], [1, None], {"rows": 3}, [_ODD]])
def test_malformed_parts_do_no_harm(run: RunContent, value: object) -> None:
    parse(section(with_results(run, corruptions={"rows": value})))
