"""An ensemble on corrupted images and images from elsewhere, recomputed from its parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from nni_hypens import ImageData, metrics
from nni_hypens.data import ood
from nni_hypens.data.corruptions import CORRUPTIONS, corrupt
from nni_hypens.ensemble.calibration import apply_temperature
from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputError
from nni_hypens.run.robustness import STEPS, Bench, measure_robustness
from tests.support import tables


@pytest.fixture(scope="module")
def data() -> ImageData:
    return ImageData("digits", train_size=200, validation_size=100, test_size=120)


@pytest.fixture(scope="module")
def ensemble(data: ImageData) -> Ensemble:
    """Two linear networks, fitted for a moment to different halves of the training images."""
    batches = list(data.train_dataloader())
    images, labels = (torch.cat([batch[i] for batch in batches]) for i in (0, 1))
    members = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(network.parameters(), 0.02)
        for _ in range(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[half]), labels[half]).backward()
            optimizer.step()
        members.append(network)
    info = EnsembleInfo(
        ["a", "b"], [{}, {}], [None, None], [None, None], data.class_names, data.input_spec,
        {"class": "torch.nn:Linear", "args": {}},
    )  # fmt: skip
    return Ensemble(members, [0.75, 0.25], 0.8, info=info, member_temperatures=[1.2, 0.9])


def test_rows_are_recomputed_from_their_parts(ensemble: Ensemble, data: ImageData) -> None:
    steps: list[int] = []
    options = {"best": "b", "best_temperature": 1.3, "images": 60, "ood": "noise", "seed": 4}
    found = measure_robustness(ensemble, data, **options, on_step=lambda: steps.append(1))
    assert len(steps) == STEPS == 35
    json.dumps(found, allow_nan=False)
    rows = found["corruptions"]["rows"]
    assert (found["corruptions"]["images"], found["corruptions"]["of"]) == (60, 120)
    assert len(rows) == 3 * (1 + 5 * len(CORRUPTIONS))
    bench = Bench(ensemble, data, 60, "b", 1.3, 4)
    assert np.bincount(bench.labels).min() >= 4  # in the proportions of the classes
    at = {(row["corruption"], row["severity"], row["model"]): row for row in rows}
    for name, level in (("none", 0), ("jpeg", 3), ("elastic", 5)):
        images = corrupt(bench.images, name, level, 4) if level else bench.images
        raw = (images * 16).permute(0, 2, 3, 1).numpy()
        probs = ensemble.predict(raw)
        assert at[name, level, "ensemble"]["nll"] == pytest.approx(metrics.nll(probs, bench.labels), abs=1e-5)
        alone = apply_temperature(ensemble.predict_members(raw)[1], 1.3)
        row = at[name, level, "best member, calibrated"]
        assert row["nll"] == pytest.approx(metrics.nll(alone, bench.labels), abs=1e-5)
        assert row["accuracy"] == at[name, level, "best member"]["accuracy"]
    clean, worst = (at[key]["accuracy"] for key in (("none", 0, "ensemble"), ("gaussian_blur", 5, "ensemble")))
    assert clean > 0.7 and worst < clean
    (noise,) = found["ood"]["sets"]
    assert noise["total"] == pytest.approx(noise["aleatoric"] + noise["epistemic"])
    assert noise["images"] == 60 and all(0 <= value <= 1 for value in noise["auroc"].values())


def test_the_same_again_and_another_seed(ensemble: Ensemble, data: ImageData) -> None:
    first, second, other = (
        measure_robustness(ensemble, data, best="a", best_temperature=1.0, images=20, ood="noise", seed=seed)
        for seed in (0, 0, 1)
    )
    assert first == second != other


def test_the_whole_test_part_is_that_of_the_loader(ensemble: Ensemble, data: ImageData) -> None:
    bench = Bench(ensemble, data, 10**6, "a", 1.0, 0)
    images = torch.cat([batch[0] for batch in data.test_dataloader()])
    spec = data.input_spec
    normalised = (bench.images - spec["mean"][0]) / spec["std"][0]
    assert torch.allclose(normalised, images, atol=1e-5) and np.array_equal(bench.labels, data.labels("test"))


def test_what_cannot_be_measured_is_said(
    ensemble: Ensemble, data: ImageData, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setattr(ood, "DEBIAN_FASHION_MNIST", tmp_path)
    monkeypatch.setattr(ood, "cache_folder", lambda: tmp_path)
    found = measure_robustness(ensemble, data, best="a", best_temperature=1.0, images=10)
    assert [item["name"] for item in found["ood"]["sets"]] == ["noise"]
    assert [item["name"] for item in found["ood"]["skipped"]] == ["fashion_mnist"]
    with pytest.raises(InputError, match="fashion_mnist"):
        measure_robustness(ensemble, data, best="a", best_temperature=1.0, images=10, ood="fashion_mnist")
    none = measure_robustness(ensemble, data, best="a", best_temperature=1.0, images=0)
    assert "stress_images is 0" in none["corruptions"]["skipped"] and "sets" not in none["ood"]

    class Bare:
        """A data module of somebody's own, without raw images."""

        input_spec = data.input_spec

    found = measure_robustness(ensemble, Bare(), best="a", best_temperature=1.0)
    assert "Bare has no raw" in found["corruptions"]["skipped"] and found["ood"]["skipped"]


def test_no_images_are_not_corrupted() -> None:
    table = ImageData("tests.support.tables:load")
    found = measure_robustness(tables.ensemble(), table, best="a", best_temperature=1.0, on_step=pytest.fail)
    assert "no images" in found["corruptions"]["skipped"] and "no images" in found["ood"]["skipped"][0]["reason"]
