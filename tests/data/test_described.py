"""Any data module or loaders as data of a run."""

from __future__ import annotations

from typing import Any

import nni
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from nni_hypens import ImageData, InputError
from nni_hypens.data.attributes import check_attributes
from nni_hypens.data.checks import check_data
from nni_hypens.data.described import NEEDED, DescribedData, described


def loader(n: int, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0, shuffle: bool = False) -> Any:
    random = torch.Generator().manual_seed(seed)
    inputs, labels = torch.rand(n, *shape, generator=random), torch.randint(0, 3, (n,), generator=random)
    labels[:3] = torch.arange(3)
    return DataLoader(TensorDataset(inputs, labels), batch_size=4, shuffle=shuffle)


class Bare(pl.LightningDataModule):
    """As Lightning's documentation writes one: it knows its loaders only."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare")

    def setup(self, stage: str) -> None:
        self.calls.append(stage)
        if stage == "fit":
            self.train, self.val = loader(20, shuffle=True), loader(10, seed=1)
        else:
            self.test = loader(9, seed=2)

    def train_dataloader(self) -> Any:
        return self.train

    def val_dataloader(self) -> Any:
        return self.val

    def test_dataloader(self) -> Any:
        return [self.test]


def test_what_a_data_module_does_not_say_is_read_from_its_loaders() -> None:
    module = Bare()
    data = described(module)
    assert all(hasattr(data, name) for name in NEEDED)
    assert data.num_classes == 3 and data.class_names == ["0", "1", "2"]
    assert data.input_spec == {
        "channels": 1, "height": 8, "width": 8, "scale": 1.0, "mean": [0.0], "std": [1.0],
    }  # fmt: skip
    expected = torch.cat([labels for _, labels in module.val]).numpy()
    assert np.array_equal(data.labels("validation"), expected)
    assert data.describe()["sizes"] == {"train": 20, "validation": 10, "test": 9}
    assert module.calls == ["prepare", "fit", "test"], "once each"
    assert len(check_data(data)) == 64


def test_a_training_loader_that_shuffles_has_one_checksum() -> None:
    """Each process that trains candidates reads the loader in another order."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(check_data(described(Bare())))
    assert found[0] == found[1]
    other = Bare()
    other.setup("fit")
    other.setup("test")
    other.train.dataset.tensors[1][0] = 1
    other.setup = lambda stage: None  # type: ignore[method-assign]
    assert check_data(described(other)) != found[0]


def test_loaders_in_a_mapping_of_any_shape() -> None:
    data = DescribedData(
        {"train": loader(8, (5,)), "validation": loader(8, (5,)), "test": loader(8, (5,))}, class_names=["a", "b", "c"]
    )
    assert data.input_spec == {"shape": [5], "scale": 1.0, "mean": [0.0] * 5, "std": [1.0] * 5}
    assert data.num_classes == 3 and data.class_names == ["a", "b", "c"]
    check_data(data)
    assert data.describe()["source"] == "own loaders"


def test_inputs_of_single_numbers_are_refused() -> None:
    data = DescribedData(dict.fromkeys(("train", "validation", "test"), loader(8, ())))
    with pytest.raises(InputError, match=r"^data.train_dataloader: got inputs of shape \(4,\); expected B x features"):
        data.labels("train")


def test_a_validation_loader_that_shuffles_is_found() -> None:
    torch.manual_seed(0)
    data = DescribedData({"train": loader(40), "validation": loader(40, shuffle=True), "test": loader(8)})
    with pytest.raises(InputError, match="^data.val_dataloader"):
        check_data(data)


def test_the_modules_own_words_count() -> None:
    module: Any = Bare()
    module.num_classes, module.class_names, module.input_spec = 4, ["a", "b", "c", "d"], {"channels": 1, "x": 2}
    data = described(module)
    assert (data.num_classes, data.class_names, data.input_spec) == (4, ["a", "b", "c", "d"], {"channels": 1, "x": 2})
    known = ImageData("digits")
    assert described(known) is known


def with_own(**attributes: Any) -> Any:
    """A data module with attributes of its own."""
    return type("Own", (Bare,), attributes)()


@pytest.mark.parametrize(
    "attributes",
    [
        {"describe": lambda self: "three kinds of shapes"},
        {"describe": lambda self: None},
        {"describe": lambda self: {"mean": torch.zeros(2)}},
        {"describe": lambda self, columns: {}},
        {"describe": lambda self: 1 / 0},
        {"describe": "text"},
        {"labels": lambda self: ["a", "b"]},
        {"labels": ["a", "b"]},
    ],
)
def test_attributes_that_mean_something_else_are_left_alone(attributes: dict[str, Any]) -> None:
    data = described(with_own(**attributes))
    check_attributes(data)
    assert data.describe() == {**described(Bare()).describe(), "source": "Own"}
    assert data.labels("validation").tolist() == described(Bare()).labels("validation").tolist()


def test_class_names_may_be_an_array() -> None:
    names = np.array(["a", "b", "c"])
    assert described(with_own(class_names=names)).class_names == ["a", "b", "c"]
    assert described(with_own(class_names=[*names, "rare"])).num_classes == 4, "a class may have no example"
    assert DescribedData(Bare(), class_names=names).class_names == ["a", "b", "c"]  # type: ignore[arg-type]
    assert DescribedData(Bare(), class_names=names).num_classes == 3  # type: ignore[arg-type]


def test_a_summary_of_the_module_joins_what_was_read() -> None:
    data = described(with_own(describe=lambda self: {"source": "mine", "licence": "CC0", "sizes": "many"}))
    assert data.describe() == {**described(Bare()).describe(), "source": "mine", "licence": "CC0"}


@pytest.mark.parametrize(
    "attributes, message",
    [
        ({"num_classes": lambda self: 3}, "num_classes: got a method; expected a whole number: an attribute"),
        ({"class_names": lambda self: ["a"]}, "class_names: got a method; expected a list of names"),
        ({"class_names": "abc"}, "class_names: got 'abc'; expected a list of names"),
        ({"input_spec": lambda self: {}}, "input_spec: got a method; expected a mapping"),
        ({"labels": lambda self, index: {}[index]}, r"labels\('train'\): got KeyError"),
        ({"labels": lambda self, split: None}, r"labels\('train'\): got an array of object"),
    ],
)
def test_attributes_of_another_form_are_named(attributes: dict[str, Any], message: str) -> None:
    data = described(with_own(**attributes))
    with pytest.raises(InputError, match=f"^data.{message}"):
        check_attributes(data)
        _ = data.input_spec
        data.labels("train")


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("num_classes", lambda: 3, "num_classes: got a function; expected a whole number"),
        ("class_names", lambda: ["a"], "class_names: got a function; expected a list"),
        ("labels", lambda: [0, 1], "labels: got a function; expected a method labels"),
        ("describe", lambda: "text", "describe: got something else; expected a method describe"),
    ],
)
def test_attributes_of_a_module_that_says_everything_are_looked_at(name: str, value: Any, message: str) -> None:
    """It is used as it is, so they are not worked out."""
    module: Any = Bare()
    known = described(Bare())
    for needed in NEEDED[:5]:
        setattr(module, needed, getattr(known, needed))
    assert described(module) is module
    check_attributes(module)
    setattr(module, name, value)
    with pytest.raises(InputError, match=f"^data.{message}"):
        check_attributes(module)


@pytest.mark.parametrize(
    "source, message",
    [
        ({"train": loader(4), "validation": loader(4)}, "^data: .*without test examples"),
        ({**dict.fromkeys(("train", "validation", "test"), loader(4)), "class_names": ["a"]}, "mapping with 'class_na"),
        ([1, 2], "^data: got a list"),
        (object(), "^data: got a object"),
    ],
)
def test_what_is_missing_is_named(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        described(source)


def test_targets_of_a_regression_are_refused() -> None:
    numbers = DataLoader(TensorDataset(torch.rand(8, 5), torch.rand(8)), batch_size=4)
    data = DescribedData({"train": numbers, "validation": numbers, "test": numbers})
    with pytest.raises(InputError, match=r"^data\.\w+: .*regression is not covered"):
        data.labels("validation")


def test_the_shape_is_read_where_the_module_has_labels_of_its_own() -> None:
    known = described(Bare())
    data = described(with_own(labels=lambda self, split: known.labels(split)))
    assert data.input_spec == known.input_spec
    check_data(data)


def test_traced_data_travel_as_their_arguments() -> None:
    again = nni.load(nni.dump(DescribedData(ImageData("digits", train_size=50))))
    assert isinstance(again.source_module, ImageData) and again.num_classes == 10
