"""Where the best member is better than the ensemble."""

from __future__ import annotations

from typing import Any

from nni_hypens.report.content import RunContent
from nni_hypens.report.weak_spots import comparisons, few_validation, surer_of_unknown, weak_spots
from tests.support.report_page import with_results


def measured(run: RunContent, **losses: float) -> RunContent:
    """A run whose best member is that much better under each corruption, in accuracy; and in NLL, calibrated."""
    rows: list[dict[str, Any]] = []
    for name, loss in {"none": 0.0, **losses}.items():
        for level in [0] if name == "none" else [1, 2]:
            common = {"corruption": name, "severity": level}
            rows.append({**common, "model": "ensemble", "accuracy": 0.5 - loss, "nll": 1.0 + loss})
            rows.append({**common, "model": "best member", "accuracy": 0.5, "nll": 9.0})
            rows.append({**common, "model": "best member, calibrated", "accuracy": 0.5, "nll": 1.0})
    return with_results(run, corruptions={"images": 100, "of": 200, "rows": rows})


def test_the_worst_corruptions_are_named(run: RunContent) -> None:
    (text,) = weak_spots(measured(run, gaussian_blur=0.1, jpeg=-0.1, noise=0.2, elastic=0.05, pixelate=0.01))
    assert "under 4 of 5 corruptions: noise (30.0% against 50.0%), gaussian blur (40.0%" in text and "1 more" in text
    assert "100 test images" in text and "jpeg" not in text
    assert "NLL is higher" in text and text.endswith("gaussian blur, noise, elastic, pixelate.")


def test_an_ensemble_that_is_never_worse_is_said_to_be(run: RunContent) -> None:
    (text,) = weak_spots(measured(run, gaussian_blur=0.0, jpeg=-0.1))
    assert "each of 2 corruptions" in text and "NLL" not in text


def test_clean_images_and_what_was_not_measured_count_nowhere(run: RunContent) -> None:
    assert comparisons(measured(run, jpeg=0.1).rows("corruptions"), "accuracy") == (("jpeg", 0.4, 0.5),)
    for value in (None, {"skipped": "no"}, {"rows": [{"model": "ensemble", "severity": 1, "accuracy": 1}]}):
        assert weak_spots(with_results(run, corruptions=value)) == []


def test_images_of_which_the_ensemble_is_surer_than_of_test_images_are_named(run: RunContent) -> None:
    """Not where the AUROC may be below 0.5 by chance: its standard error for 100 and 100 images is 0.041."""
    sets = [
        {"name": name, "images": images, "auroc": {"confidence": auroc, "entropy": 0.1}}
        for name, images, auroc in [
            ("noise", 100, 0.40),
            ("far", 100, 0.9),
            ("a few", 100, 0.43),
            ("fashion_mnist", 90, 0.1),
        ]
    ]
    (text,) = surer_of_unknown(with_results(run, ood={"images": 100, "sets": sets, "skipped": []}))
    assert "noise (AUROC 0.400), Fashion-MNIST (AUROC 0.100) than of test images" in text
    assert "far" not in text and "a few" not in text
    assert surer_of_unknown(with_results(run, ood=None)) == []
    assert surer_of_unknown(with_results(run, ood={"sets": [{"name": "noise", "auroc": 3}]})) == []


def test_few_validation_images_are_named() -> None:
    text = few_validation(36, "image")
    assert text is not None and text.startswith("only 36 validation images to choose the members")
    assert "1 validation row to" in str(few_validation(1, "row"))
    assert few_validation(200, "image") is None
