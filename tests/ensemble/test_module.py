"""Temperature against a grid, the module against plain numpy, and saving and loading against a hostile folder."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nni_hypens.ensemble.calibration import Combination, apply_temperature, combine, fit_temperature
from nni_hypens.ensemble.conformal import fit_conformal
from nni_hypens.ensemble.module import Ensemble
from nni_hypens.errors import InputError
from tests.support.tiny_ensemble import TinySpace, make

with warnings.catch_warnings():
    # NNI's layers meet classes of torch that are newer than NNI.
    warnings.simplefilter("ignore", RuntimeWarning)
    from nni.nas.space import model_context


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 5, 5, 2), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make(weights=[0.5, 0.25, 0.25]).save(tmp_path)
    return tmp_path


# --- temperature ---


@pytest.mark.parametrize("temperature", [0.0, -1.0, 1e-46, 1e9, float("nan"), float("inf")])
def test_bad_temperature_is_named(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature: got .*; expected a number in 0.001..1000"):
        apply_temperature(np.full((1, 2), 0.5), temperature)
    with pytest.raises(InputError, match="temperature: got"):
        make(temperature=temperature)


def test_fit_names_bad_arrays() -> None:
    with pytest.raises(InputError, match="probs: got .* sum to"):
        fit_temperature(np.ones((2, 2)), np.array([0, 1]))
    with pytest.raises(InputError, match="labels: got"):
        fit_temperature(np.full((2, 2), 0.5), np.array([0, 2]))


# --- the module ---


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_forward_is_the_calibrated_weighted_mean(temperature: float) -> None:
    ensemble = make(weights=[2, 1, 1], temperature=temperature).eval()
    x = torch.randn(4, 2, 5, 5)
    with torch.no_grad():
        mean = sum(w * torch.softmax(m(x), 1) for w, m in zip([0.5, 0.25, 0.25], ensemble.members, strict=True))
        result = ensemble(x).numpy()
    assert result == pytest.approx(apply_temperature(mean.numpy(), temperature), abs=1e-6)
    assert result.sum(1) == pytest.approx(1, abs=1e-6)


def test_member_temperatures_come_before_the_mean(images: np.ndarray, tmp_path: Path) -> None:
    plain = make(weights=[2, 1, 1]).eval()
    ensemble = Ensemble(
        list(plain.members), [2, 1, 1], 1.5, info=plain.info, member_temperatures=[0.5, 1.0, 3.0]
    ).eval()
    members = ensemble.predict_members(images)
    assert members.shape == (3, 7, 3) and np.array_equal(members, plain.predict_members(images))
    for one, other in zip(ensemble.predict_both(images, 4), (ensemble.predict(images, 4), members), strict=True):
        assert np.array_equal(one, other)
    expected = combine(members, [0.5, 0.25, 0.25], Combination(1.5, (0.5, 1.0, 3.0), "linear"))
    assert ensemble.predict(images) == pytest.approx(expected, abs=1e-6)
    assert np.abs(plain.predict(images) - expected).max() > 1e-3
    ensemble.save(tmp_path)
    index = json.loads((tmp_path / "ensemble.json").read_text())
    assert index["format_version"] == 2 and [m["temperature"] for m in index["members"]] == [0.5, 1.0, 3.0]
    loaded = Ensemble.load(tmp_path, TinySpace)
    assert np.array_equal(loaded.predict(images), ensemble.predict(images))
    with pytest.raises(InputError, match="member_temperatures: got 2"):
        Ensemble(list(plain.members), info=plain.info, member_temperatures=[1.0, 2.0])
    with pytest.raises(InputError, match="temperature: got"):
        Ensemble(list(plain.members), info=plain.info, member_temperatures=[1.0, 2.0, -1.0])


@pytest.mark.parametrize("temperatures", [None, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize("pooling", ["log", "linear"])
def test_what_the_module_says_is_what_combine_says(pooling: str, temperatures: list[float] | None) -> None:
    """Also with a member that gives a class the probability 0."""
    info = make().info
    members = [Constant([0.3, -0.2, 0.1]), Constant([1e4, 0.0, -1e4]), Constant([-1.0, 2.0, 0.5])]
    ensemble = Ensemble(members, [2, 1, 1], 1.3, info=info, member_temperatures=temperatures, pooling=pooling).eval()
    x = torch.zeros(2, 2, 5, 5)
    probs = ensemble.member_log_probabilities(x).double().exp().numpy()
    assert probs.min() == 0
    combination = Combination(1.3, tuple(temperatures or (1.0, 1.0, 1.0)), pooling)
    expected = combine(probs, [0.5, 0.25, 0.25], combination)
    assert ensemble(x).numpy() == pytest.approx(expected, abs=1e-6) and pooling in repr(ensemble)


@pytest.mark.parametrize("temperatures", [None, [0.5, 1.0, 3.0]])
def test_a_mean_of_logarithms_is_the_third_version(
    images: np.ndarray, tmp_path: Path, temperatures: list[float] | None
) -> None:
    """A program that knows two versions must refuse it, or it would average the probabilities."""
    plain = make(weights=[2, 1, 1]).eval()
    options: Any = {"info": plain.info, "member_temperatures": temperatures}
    ensemble = Ensemble(list(plain.members), [2, 1, 1], 1.5, pooling="log", **options).eval()
    linear = Ensemble(list(plain.members), [2, 1, 1], 1.5, pooling="linear", **options).eval()
    assert np.abs(ensemble.predict(images) - linear.predict(images)).max() > 1e-3
    ensemble.save(tmp_path)
    index = json.loads((tmp_path / "ensemble.json").read_text())
    assert (index["format_version"], index["pooling"]) == (3, "log")
    assert [member["temperature"] for member in index["members"]] == (temperatures or [1.0, 1.0, 1.0])
    loaded = Ensemble.load(tmp_path, TinySpace)
    assert loaded.pooling == "log" and np.array_equal(loaded.predict(images), ensemble.predict(images))
    with pytest.raises(InputError, match="^pooling: got 'mean'; expected one of log, linear"):
        Ensemble(list(plain.members), info=plain.info, pooling="mean")


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_versions_average_probabilities(saved: Path, images: np.ndarray, version: int) -> None:
    before = Ensemble.load(saved, TinySpace).predict(images)
    index = json.loads((saved / "ensemble.json").read_text())
    index |= {"format_version": version, "pooling": "log"}  # a key that they do not have
    index["members"] = [{**member, "temperature": 1.0} for member in index["members"]]
    (saved / "ensemble.json").write_text(json.dumps(index))
    loaded = Ensemble.load(saved, TinySpace)
    assert loaded.pooling == "linear" and np.array_equal(loaded.predict(images), before)


def test_a_first_version_has_no_temperatures_of_members(saved: Path) -> None:
    index = json.loads((saved / "ensemble.json").read_text())
    index["members"][0]["temperature"] = 9.0
    (saved / "ensemble.json").write_text(json.dumps(index))
    assert Ensemble.load(saved, TinySpace).member_temperatures.tolist() == [1.0, 1.0, 1.0]
    index["format_version"] = 2
    (saved / "ensemble.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"members\[1\].temperature: got nothing"):
        Ensemble.load(saved, TinySpace)


class Constant(nn.Module):
    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


def test_forward_is_stable_for_extreme_logits() -> None:
    info = make(("conv",)).info
    for temperature in (0.05, 1.0, 20.0):
        ensemble = Ensemble([Constant([1e4, 0.0, -1e4])], temperature=temperature, info=info)
        result = ensemble(torch.zeros(2, 2, 5, 5)).numpy()
        expected = apply_temperature(np.array([[1.0, 0.0, 0.0]] * 2), temperature)
        assert np.isfinite(result).all() and result == pytest.approx(expected, abs=1e-6)


def test_gradients_reach_every_member() -> None:
    ensemble = make()
    ensemble(torch.randn(4, 2, 5, 5))[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ensemble.parameters())


def test_weights_and_temperature_are_buffers() -> None:
    assert {"weights", "temperature"} <= {name for name, _ in make().named_buffers()}
    assert make(weights=[3, 2, 1]).weights.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6])
    assert make().weights.tolist() == pytest.approx([1 / 3] * 3)


def test_predict_normalises_and_keeps_modes(images: np.ndarray) -> None:
    ensemble = make()
    ensemble.members[0].eval()
    before = ensemble.members[0].norm.running_mean.clone()
    modes = [module.training for module in ensemble.modules()]
    result = ensemble.predict(images)
    assert [module.training for module in ensemble.modules()] == modes
    assert torch.equal(ensemble.members[0].norm.running_mean, before)
    x = (images / 255.0 - np.array([0.4, 0.6])) / np.array([0.2, 0.3])
    with torch.no_grad():
        expected = ensemble.eval()(torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float32))
    assert result == pytest.approx(expected.numpy(), abs=1e-6)
    assert ensemble.predict(images.astype(np.float64), batch_size=2) == pytest.approx(result, abs=1e-6)


def test_predict_takes_images_without_a_channel_axis() -> None:
    info = make(("conv",)).info
    info.input_spec = {"channels": 1, "height": 8, "width": 6, "scale": 16.0, "mean": [0.5], "std": [1.0]}
    ensemble = Ensemble([nn.Sequential(nn.Flatten(), nn.Linear(48, 3))], info=info)
    flat = np.random.default_rng(0).uniform(0, 16, (3, 8, 6))
    assert ensemble.predict(flat) == pytest.approx(ensemble.predict(flat[..., None]))
    assert ensemble.predict(flat).shape == (3, 3)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((3, 2, 5, 5)), r"images: got shape \(3, 2, 5, 5\); expected shape N x 5 x 5 x 2"),
        (np.zeros((3, 5, 5)), r"images: got shape \(3, 5, 5\)"),
        (np.zeros((0, 5, 5, 2)), r"images: got shape \(0, 5, 5, 2\)"),
        (np.full((1, 5, 5, 2), np.nan), "images: got NaN"),
        (np.full((1, 5, 5, 2), "a"), "images: got dtype <U1"),
    ],
)
def test_predict_names_bad_images(bad: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make().predict(bad)


def test_constructor_names_bad_arguments() -> None:
    with pytest.raises(InputError, match="weights: got"):
        make(weights=[1, 0, 1])
    with pytest.raises(InputError, match="weights: got .* 3 positive numbers"):
        make(weights=[1, 1])
    info = make().info
    with pytest.raises(InputError, match="members: got none"):
        Ensemble([], info=info)
    with pytest.raises(InputError, match="info.ids: got 3 entries; expected 2"):
        Ensemble(list(make().members)[:2], info=info)
    few = make()
    few.info.labels = ["cat", "dog"]
    with pytest.raises(InputError, match="info.labels: got 2 names; expected 3"):
        few.predict(np.zeros((1, 5, 5, 2)))


# --- saving and loading ---


@pytest.mark.parametrize(("ops", "weights"), [(("conv", "identity", "conv"), [0.5, 0.2, 0.3]), (("identity",), None)])
def test_round_trip(tmp_path: Path, images: np.ndarray, ops: tuple[str, ...], weights: Any) -> None:
    ensemble = make(ops, weights, temperature=0.7)
    folder = tmp_path / "deep" / "ensemble"
    ensemble.save(folder)
    loaded = Ensemble.load(folder, space=TinySpace)
    assert not any(module.training for module in loaded.modules())
    assert loaded.predict(images) == pytest.approx(ensemble.predict(images), abs=1e-6)
    assert loaded.info == ensemble.info
    for old, new in zip(ensemble.members, loaded.members, strict=True):
        for key, value in old.state_dict().items():
            assert torch.equal(new.state_dict()[key], value) and new.state_dict()[key].dtype == value.dtype
        assert new.norm.num_batches_tracked == 1


def test_the_index_is_the_contract(saved: Path) -> None:
    index = json.loads((saved / "ensemble.json").read_text())
    assert index["format_version"] == 1
    assert set(index) == {"format_version", "members", "temperature", "labels", "input", "space", "versions"}
    assert [set(m) for m in index["members"]] == [{"id", "file", "weight", "lam", "shared_edges", "architecture"}] * 3
    assert index["members"][1] == {
        "id": "c1",
        "file": "member-c1.safetensors",
        "weight": 0.25,
        "lam": 1.5,
        "shared_edges": 1,
        "architecture": {"op": "identity"},
    }
    assert index["versions"]["torch"] == torch.__version__ and index["versions"]["nni"] == "3.0"
    assert index["temperature"] == 1.5 and index["labels"] == ["cat", "dog", "owl"]
    assert sorted(path.name for path in saved.iterdir()) == ["ensemble.json"] + [
        f"member-c{i}.safetensors" for i in range(3)
    ]


def test_prediction_sets_are_kept_in_the_index(tmp_path: Path, images: np.ndarray) -> None:
    """No data is needed later; an ensemble without them, as earlier versions wrote, still loads."""
    ensemble = make()
    ensemble.save(tmp_path)
    assert "conformal" not in json.loads((tmp_path / "ensemble.json").read_text())
    assert Ensemble.load(tmp_path, space=TinySpace).info.conformal is None
    ensemble.info.conformal = fit_conformal(ensemble.predict(images), np.arange(len(images)) % 3)
    ensemble.save(tmp_path)
    loaded = Ensemble.load(tmp_path, space=TinySpace)
    assert loaded.info.conformal == ensemble.info.conformal and loaded.info.conformal.images == len(images)
    index = json.loads((tmp_path / "ensemble.json").read_text())
    index["conformal"]["probabilities"][0] = 2
    (tmp_path / "ensemble.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="^ensemble.json.conformal.probabilities: got"):
        Ensemble.load(tmp_path, space=TinySpace)


def test_json_keeps_every_kind_of_choice(tmp_path: Path) -> None:
    ensemble = make(("conv",))
    sample = {"op": "conv", "input": [0, 2], "depth": 3, "wide": True, "ratio": 0.5, 7: 1, "pair": (1, 2)}
    ensemble.info.architectures = [{**sample, "numpy": np.int64(4)}]
    ensemble.save(tmp_path)
    loaded = Ensemble.load(tmp_path, space=TinySpace).info.architectures[0]
    assert loaded == {**sample, "numpy": 4}
    assert [type(value) for value in loaded.values()] == [str, list, int, bool, float, int, tuple, int]


def test_tensors_that_share_memory_are_saved(tmp_path: Path, images: np.ndarray) -> None:
    ensemble = make(("conv", "conv"))
    ensemble.members[1] = ensemble.members[0]
    ensemble.members[0].linear.weight.data = torch.randn(2, 3).T  # and one that is not contiguous
    ensemble.save(tmp_path)
    assert Ensemble.load(tmp_path, space=TinySpace).predict(images) == pytest.approx(ensemble.predict(images), abs=1e-6)


def test_loading_leaves_the_random_state_alone(saved: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Ensemble.load(saved, space=TinySpace)
    assert torch.equal(torch.rand(2), expected)


def test_a_space_of_the_hub_loads_by_name(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        from nni.nas.hub.pytorch import NasBench201
    sample = {
        label: mutable.default({})
        for label, mutable in NasBench201(stem_out_channels=4, num_modules_per_stack=1).simplify().items()
    }
    with model_context(sample):
        network = NasBench201(stem_out_channels=4, num_modules_per_stack=1)
    info = make(("conv",)).info
    info.architectures, info.labels = [sample], [str(i) for i in range(10)]
    info.input_spec = {"channels": 3, "height": 8, "width": 8, "scale": 255, "mean": [0.5] * 3, "std": [0.2] * 3}
    info.space = {
        "class": "nni.nas.hub.pytorch:NasBench201",
        "args": {"stem_out_channels": 4, "num_modules_per_stack": 1},
    }
    ensemble = Ensemble([network], info=info)
    ensemble.save(tmp_path)
    x = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    assert Ensemble.load(tmp_path).predict(x) == pytest.approx(ensemble.predict(x), abs=1e-6)


def test_interrupted_save_never_describes_foreign_weights(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {path.name: path.read_bytes() for path in saved.iterdir()}
    replace, calls = os.replace, []

    def fails_at_second(source: Path, target: Path) -> None:
        calls.extend([target] * str(target).endswith(".safetensors"))
        if len(calls) == 2:
            raise OSError("disk gone")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_at_second)
    with pytest.raises(OSError, match="disk gone"):
        make().save(saved)
    assert not (saved / "ensemble.json").exists()
    assert {path.name for path in saved.iterdir()} == set(old) - {"ensemble.json"}
    with pytest.raises(InputError, match="no file"):
        Ensemble.load(saved, space=TinySpace)


def test_what_cannot_be_saved_leaves_the_folder_alone(saved: Path) -> None:
    old = {path.name: path.read_bytes() for path in saved.iterdir()}
    for value in (float("nan"), object()):
        ensemble = make()
        ensemble.info.lams[0] = value
        with pytest.raises(InputError, match="info: got"):
            ensemble.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == old


# --- hostile folders ---


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("writer", ["pickle", "torch", "text", "empty"])
def test_a_pickle_by_another_name_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    monkeypatch.chdir(saved)
    path = saved / "member-c1.safetensors"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif writer == "torch":
        torch.save({"op.weight": Bomb()}, path)
    else:
        path.write_text("" if writer == "empty" else "weights")
    with pytest.raises(InputError, match="member-c1.safetensors: got not a safetensors file"):
        Ensemble.load(saved, space=TinySpace)
    assert not (saved / "exploded").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere/ensemble.json: got no file; expected a folder"):
        Ensemble.load(tmp_path / "nowhere")


def test_an_answer_that_is_no_probability_is_an_error() -> None:
    ensemble = make()
    ensemble.members[0].linear.bias.data[0] = float("nan")
    for predict in (ensemble.predict, ensemble.predict_members):
        with pytest.raises(InputError, match="predictions of the .*: got .* NaN"):
            predict(np.zeros((2, 5, 5, 2)))
    with pytest.raises(InputError, match="weights"):
        Ensemble(list(ensemble.members), [1e308, 1e308, 1e308], info=ensemble.info)


def test_an_ensemble_is_shown_in_one_line() -> None:
    ensemble = make(weights=[0.5, 0.25, 0.25])
    parameters = sum(value.numel() for value in ensemble.parameters())
    text = repr(ensemble)
    for part in (
        "3 members: c0, c1, c2",
        "0.5, 0.25, 0.25",
        "images 5 x 5 x 2",
        "temperature 1.5",
        f"{parameters:,} p",
    ):
        assert part in text
    assert "\n" not in text and len(text) < 250
