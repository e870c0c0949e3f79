"""Temperature against a grid, the module against plain numpy, and saving and loading against a hostile folder."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize
from torch import nn

from nni_hypens import metrics
from nni_hypens.ensemble import Ensemble, EnsembleInfo, apply_temperature, fit_temperature
from nni_hypens.errors import InputError

with warnings.catch_warnings():
    # NNI's layers meet classes of torch that are newer than NNI.
    warnings.simplefilter("ignore", RuntimeWarning)
    from nni.nas.nn.pytorch import LayerChoice, ModelSpace
    from nni.nas.space import model_context

SEEDS = st.integers(0, 2**32 - 1)


class TinySpace(ModelSpace):
    """One choice, a BatchNorm and a linear layer."""

    def __init__(self, channels: int = 2, classes: int = 3) -> None:
        super().__init__()
        self.op = LayerChoice(
            {"conv": nn.Conv2d(channels, channels, 3, padding=1), "identity": nn.Identity()}, label="op"
        )
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.norm(self.op(x))).mean((2, 3)))


def make(
    ops: tuple[str, ...] = ("conv", "identity", "conv"), weights: Any = None, temperature: float = 1.5
) -> Ensemble:
    torch.manual_seed(0)
    members = []
    for op in ops:
        with model_context({"op": op}):
            network = TinySpace()
        network(torch.randn(16, 2, 5, 5))  # moves the BatchNorm statistics away from their start
        members.append(network)
    info = EnsembleInfo(
        ids=[f"c{i}" for i in range(len(ops))],
        architectures=[{"op": op} for op in ops],
        lams=[None, 1.5, 0.0][: len(ops)],
        shared_edges=[None, 1, 0][: len(ops)],
        labels=["cat", "dog", "owl"],
        input_spec={"channels": 2, "height": 5, "width": 5, "scale": 255, "mean": [0.4, 0.6], "std": [0.2, 0.3]},
        space={"class": "test_ensemble:TinySpace", "args": {"channels": 2, "classes": 3}},
    )
    return Ensemble(members, weights, temperature, info=info)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 5, 5, 2), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    make(weights=[0.5, 0.25, 0.25]).save(tmp_path)
    return tmp_path


def edit(folder: Path, change: Any) -> None:
    path = folder / "ensemble.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


# --- temperature ---


def draw(seed: int, n: int, c: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, and the probabilities of those logits times `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, c)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(c, p=row) for row in true])
    sharp = np.exp(logits * sharpness - (logits * sharpness).max(1, keepdims=True))
    return sharp / sharp.sum(1, keepdims=True), labels


@pytest.mark.parametrize("prior_scale", [None, 0.5])
@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_temperature_matches_other_optimisers(seed: int, sharpness: float, prior_scale: float | None) -> None:
    probs, labels = draw(seed, 400, 4, sharpness)
    fitted = fit_temperature(probs, labels, prior_scale)

    def loss(temperature: float) -> float:
        powers = probs ** (1 / temperature)
        chosen = (powers / powers.sum(1, keepdims=True))[np.arange(len(labels)), labels]
        prior = 0.0 if prior_scale is None else np.log(temperature) ** 2 / (2 * prior_scale**2)
        return float(-np.log(chosen).mean() + prior / len(labels))

    grid = np.geomspace(0.05, 20, 2001)
    assert fitted == pytest.approx(grid[np.argmin([loss(t) for t in grid])], rel=0.004)
    simplex = minimize(
        lambda x: loss(np.exp(x[0])), [0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}
    )
    assert fitted == pytest.approx(np.exp(simplex.x[0]), rel=1e-4)


def test_temperature_undoes_a_known_one() -> None:
    probs, labels = draw(0, 20_000, 5, 2.5)
    assert fit_temperature(probs, labels) == pytest.approx(2.5, rel=0.05)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 30), c=st.integers(2, 5), alpha=st.sampled_from([0.01, 0.3, 1.0, 10.0]))
def test_temperature_is_never_worse_than_one(seed: int, n: int, c: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    probs, labels = rng.dirichlet(np.full(c, alpha), size=n), rng.integers(0, c, n)
    temperature = fit_temperature(probs, labels)
    assert 0.05 <= temperature <= 20
    assert metrics.nll(apply_temperature(probs, temperature), labels) <= metrics.nll(probs, labels) + 1e-9


def test_temperature_ends() -> None:
    right = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert fit_temperature(right, np.array([0, 1]), None) == pytest.approx(0.05)
    assert fit_temperature(right, np.array([1, 0]), None) == pytest.approx(20)
    assert fit_temperature(np.full((3, 2), 0.5), np.array([0, 1, 0])) == 1


def test_prior_holds_where_every_example_is_right_and_fades_with_data() -> None:
    right = np.tile([[0.9, 0.1], [0.2, 0.8]], (150, 1))
    labels = np.tile([0, 1], 150)
    assert 0.15 < fit_temperature(right, labels) < 1
    assert fit_temperature(right[:2], labels[:2]) > fit_temperature(right, labels)
    probs, drawn = draw(0, 20_000, 4, 3.0)
    assert fit_temperature(probs, drawn) == pytest.approx(fit_temperature(probs, drawn, None), rel=0.01)
    with pytest.raises(InputError, match="prior_scale"):
        fit_temperature(right, labels, 0.0)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, temperature=st.floats(0.05, 20))
def test_applied_temperature_is_a_power(seed: int, temperature: float) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(4), size=6)
    powers = np.maximum(probs, 1e-12) ** (1 / temperature)
    result = apply_temperature(probs, temperature)
    assert result == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-9)
    assert np.array_equal(result.argmax(1), probs.argmax(1))
    assert apply_temperature(probs, 1.0) == pytest.approx(probs, abs=1e-11)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_temperature_is_named(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature: got .*; expected a finite number above 0"):
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
        (np.zeros((1, 5, 5, 2), dtype=bool), "images: got dtype bool"),
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
    for field, value, message in [
        ("ids", ["a", "b"], "info.ids: got 2 entries; expected 3"),
        ("ids", ["a", "b", "../c"], r"info.ids: got '\.\./c'"),
        ("ids", ["a", "b", "A"], "info.ids: got .* unique"),
        ("lams", [1.0], "info.lams: got 1 entries"),
        ("labels", [], "info.labels"),
        ("input_spec", {}, "input.channels: got nothing"),
        ("space", {"class": "a:B"}, "space.args: got nothing"),
    ]:
        changed = make().info
        setattr(changed, field, value)
        with pytest.raises(InputError, match=message):
            Ensemble(list(make().members), info=changed)
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


@pytest.mark.parametrize(
    "name", ["../member-c0.safetensors", "/etc/passwd", "..", ".", "", "a/b", "a\\b", "C:x", ".hidden", "a\n", "a\0"]
)
def test_file_names_stay_inside_the_folder(saved: Path, name: str) -> None:
    inner = saved / "inner"
    inner.mkdir()
    shutil.copy(saved / "ensemble.json", inner)
    edit(inner, lambda index: index["members"][0].update(file=name))
    with pytest.raises(InputError, match=r"members\[0\]\.file: got .*; expected the plain name"):
        Ensemble.load(inner, space=TinySpace)


KEYS = ["members", "temperature", "labels", "input", "space", "versions"]
MEMBER_KEYS = ["id", "file", "weight", "lam", "shared_edges", "architecture"]


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_or_mistyped_key_is_named(saved: Path, key: str) -> None:
    edit(saved, lambda index: index.update({key: True}))
    with pytest.raises(InputError, match=rf"ensemble\.json\.{key}: got True; expected a value of type"):
        Ensemble.load(saved, space=TinySpace)
    edit(saved, lambda index: index.pop(key))
    with pytest.raises(InputError, match=rf"ensemble\.json\.{key}: got nothing"):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize("key", MEMBER_KEYS)
def test_a_missing_or_mistyped_member_key_is_named(saved: Path, key: str) -> None:
    edit(saved, lambda index: index["members"][2].update({key: ["x"]}))
    with pytest.raises(InputError, match=rf"members\[2\]\.{key}: got \['x'\]; expected a value of type"):
        Ensemble.load(saved, space=TinySpace)
    edit(saved, lambda index: index["members"][2].pop(key))
    with pytest.raises(InputError, match=rf"members\[2\]\.{key}: got nothing"):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(format_version=2), r"ensemble\.json\.format_version: got 2; expected 1"),
        (lambda i: i.pop("format_version"), r"ensemble\.json\.format_version: got None; expected 1"),
        (lambda i: i.update(members=[]), "members: got none"),
        (lambda i: i.update(members=[3]), r"members\[0\]: got 3; expected an object"),
        (lambda i: i.update(temperature=0), "temperature: got 0"),
        (lambda i: i.update(labels=[1, 2, 3]), "info.labels"),
        (lambda i: i["members"][0].update(weight=-1), "weights: got"),
        (lambda i: i["members"][0].update(id="c1"), "info.ids: got .* unique"),
        (lambda i: i["members"][0].update(architecture={}), r"members\[0\]\.architecture: got SampleMissingError"),
        (lambda i: i["members"][0].update(architecture={"op": "pool"}), r"members\[0\]\.architecture: got .*pool"),
        (lambda i: i["members"][0].update(file="gone.safetensors"), "gone.safetensors: got no file"),
        (lambda i: i["space"].update(args={"width": 3}), "architecture: got TypeError .*width"),
        (lambda i: i["space"].pop("args"), "space.args: got nothing"),
        (lambda i: i["input"].pop("mean"), "input.mean: got nothing"),
        (lambda i: i["input"].update(mean=[0.0]), "input.mean: got .* expected 2 finite numbers"),
        (lambda i: i["input"].update(std=[0, 1]), "input.std: got .* expected 2 positive numbers"),
        (lambda i: i["input"].update(height=-5), "input.height: got -5"),
        (lambda i: i["input"].update(channels=10**30), "ensemble.json: got the whole number 1000"),
        (lambda i: i.update(input={"__items__": 3}), "ensemble.json: got .*; expected a readable JSON file"),
        (lambda i: i.update(input={"__items__": [[[], 1]]}), "ensemble.json: got .*; expected a readable JSON file"),
    ],
)
def test_a_bad_index_is_named(saved: Path, change: Any, message: str) -> None:
    edit(saved, change)
    with pytest.raises(InputError, match=message) as error:
        Ensemble.load(saved, space=TinySpace)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '{"format_version": NaN}', "\ud800"])
def test_an_index_that_is_no_index(saved: Path, text: str) -> None:
    (saved / "ensemble.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"ensemble\.json"):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("norm.bias"), "norm.bias is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra is not in the network"),
        (lambda t: t.update({"linear.weight": torch.zeros(3, 4)}), r"linear.weight has shape \(3, 4\), not \(3, 2\)"),
        (
            lambda t: t.update({"linear.bias": torch.zeros(3).double()}),
            "linear.bias has type torch.float64, not torch.float32",
        ),
        (
            lambda t: t.update({"norm.num_batches_tracked": torch.tensor(1.0)}),
            "num_batches_tracked has type torch.float32",
        ),
    ],
)
def test_weights_of_another_network_are_named(saved: Path, change: Any, message: str) -> None:
    path = saved / "member-c0.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.unlink()  # the tensors may still be mapped from it
    save_file(tensors, path)
    with pytest.raises(InputError, match=message):
        Ensemble.load(saved, space=TinySpace)


@pytest.mark.parametrize(
    "name",
    [
        "test_ensemble:TinySpace",
        "os:system",
        "search_spaces_evil:Net",
        "search_spaces..os:system",
        "search_spaces:os.system",
        "nni.nas.hub.pytorchx:DARTS",
        "nni.nas.hub.pytorch",
        "",
    ],
)
def test_foreign_classes_are_not_imported(saved: Path, name: str) -> None:
    edit(saved, lambda index: index["space"].update({"class": name}))
    with pytest.raises(InputError, match=r"space\.class: got .*; expected a class of .*pass space= the class"):
        Ensemble.load(saved)


@pytest.mark.parametrize(
    "name",
    [
        "nni.nas.hub.pytorch.nasnet:nn",
        "nni.nas.hub.pytorch.nasnet:Repeat",
        "nni.nas.hub.pytorch:NoSuch",
        "search_spaces.no:X",
    ],
)
def test_only_spaces_of_the_trusted_packages_are_built(saved: Path, name: str) -> None:
    edit(saved, lambda index: index["space"].update({"class": name}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(InputError, match=r"space\.class: got"):
            Ensemble.load(saved)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere/ensemble.json: got no file; expected a folder"):
        Ensemble.load(tmp_path / "nowhere")
