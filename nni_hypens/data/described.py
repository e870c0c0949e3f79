"""Any data module or loaders as data of a run: what they do not say is read from one pass over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nni
import numpy as np
import pytorch_lightning as pl
import torch

from nni_hypens.data.attributes import kind, names_in_order, own_labels, summary, takes, whole_number
from nni_hypens.errors import InputError

SPLITS = {"train": "train_dataloader", "validation": "val_dataloader", "test": "test_dataloader"}
NEEDED = ("num_classes", "class_names", "input_spec", "labels", "describe", "val_dataloader", "test_dataloader")
"""What a run asks of its data; see `nni_hypens.data.protocols.LabelledData`."""


@nni.trace
class DescribedData(pl.LightningDataModule):
    """A Lightning data module, or loaders, with what a run needs to know about them.

    Attributes that the data module has itself (`num_classes`, `class_names`, `input_spec`) are taken from it, and are
    refused if they are something else. Methods `labels(split)` and `describe()` are taken too; one that takes
    other arguments, or a `describe()` that returns no mapping for JSON, is left alone. What is missing is worked out
    from one pass over the loaders: labels in the order of the loader, as many classes as the largest label says, and
    the shape of the input, taken as it comes, without normalisation. Validation and test loaders must give the same
    examples in the same order each time; `check_data` looks at that before a run.

    Args:
        source: A Lightning data module with train, validation and test loaders, or a mapping with loaders under
            `train`, `validation` and `test`. To be sent to NNI trials, it must be traced by NNI (or its loaders and
            their data sets); local workers take it as it is.
        num_classes: Classes C; None to take them from the module, or from the labels.
        class_names: Names of the classes; None to take them from the module, or their numbers.

    Raises:
        InputError: A loader is missing.

    Examples:
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> loader = DataLoader(TensorDataset(torch.zeros(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])), batch_size=4)
        >>> data = DescribedData({"train": loader, "validation": loader, "test": loader})
        >>> data.num_classes, data.input_spec["height"], data.labels("test").tolist()
        (3, 8, [0, 1, 2, 0, 1, 2])
    """

    def __init__(self, source: Any, num_classes: int | None = None, class_names: list[str] | None = None) -> None:
        super().__init__()
        self.source_module = source
        self._num_classes = num_classes
        self._class_names = [] if class_names is None else names_in_order("class_names", class_names)
        self._labels: dict[str, np.ndarray] = {}
        self._shape: tuple[int, ...] | None = None
        self._ready = False
        unknown = [str(key) for key in source if key not in SPLITS] if isinstance(source, Mapping) else []
        if unknown:
            expected = f"{', '.join(SPLITS)} only; class_names and input_spec are attributes of a Lightning data module"
            raise InputError("data", f"a mapping with {unknown[0]!r}", expected)
        for split, method in SPLITS.items():
            found = split in source if isinstance(source, Mapping) else hasattr(source, method)
            if not found:
                expected = f"a Lightning data module with {method}(), or a mapping with a {split!r} loader"
                raise InputError("data", f"{type(source).__name__} without {split} examples", expected)

    # ---- loaders --------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Lightning's hook: that of the data module."""
        if isinstance(self.source_module, pl.LightningDataModule):
            self.source_module.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Lightning's hook: that of the data module, once for all stages."""
        if isinstance(self.source_module, pl.LightningDataModule) and not self._ready:
            for name in ("fit", "test"):
                self.source_module.setup(name)
        self._ready = True

    def prepare(self) -> None:
        """Fetch and set up the data; a second call does nothing."""
        if not self._ready:
            self.prepare_data()
            self.setup()

    def _loader(self, split: str) -> Any:
        self.prepare()
        source = self.source_module
        loader = source[split] if isinstance(source, Mapping) else getattr(source, SPLITS[split])()
        if isinstance(loader, list | tuple) and len(loader) == 1:
            (loader,) = loader
        if loader is None or isinstance(loader, list | tuple):
            got = "no loader" if loader is None else f"{len(loader)} loaders"
            raise InputError(f"data.{SPLITS[split]}", got, "one loader")
        return loader

    def train_dataloader(self) -> Any:
        """The train loader."""
        return self._loader("train")

    def val_dataloader(self) -> Any:
        """The validation loader."""
        return self._loader("validation")

    def test_dataloader(self) -> Any:
        """The test loader."""
        return self._loader("test")

    # ---- what a run asks ------------------------------------------------------------------------------------------

    def labels(self, split: str) -> np.ndarray:
        """Labels of a split, in the order of one pass over its loader.

        Raises:
            InputError: The loader does not give pairs of inputs and labels.
        """
        own = getattr(self.source_module, "labels", None)
        if split not in self._labels:
            self._labels[split] = self._own(own, split) if takes(own, split) else self._read(split)
        return self._labels[split].copy()

    def _own(self, labels: Any, split: str) -> np.ndarray:
        found = np.asarray(own_labels(labels, split))
        if found.dtype.kind not in "iu" or found.ndim != 1:
            got, field = f"an array of {found.dtype} and shape {found.shape}", f"data.labels({split!r})"
            raise InputError(field, got, "whole numbers of classes, one per example; or another name for this method")
        return found

    def _read(self, split: str) -> np.ndarray:
        field, parts = f"data.{SPLITS[split]}", []
        with torch.random.fork_rng(devices=[]):  # a loader that shuffles draws from the global generator
            for batch in self._loader(split):
                if not (isinstance(batch, tuple | list) and len(batch) == 2):
                    raise InputError(field, f"a batch of type {type(batch).__name__}", "pairs of inputs and labels")
                inputs, labels = (torch.as_tensor(part) for part in batch)
                if labels.is_floating_point() or labels.ndim != 1:
                    got = f"labels of {labels.dtype} and shape {tuple(labels.shape)}"
                    raise InputError(field, got, "whole numbers of classes, one per example; regression is not covered")
                if inputs.ndim < 2:
                    raise InputError(
                        field, f"inputs of shape {tuple(inputs.shape)}", "B x features, or B x other sizes"
                    )
                self._shape = self._shape or tuple(inputs.shape[1:])
                parts.append(labels.cpu().numpy())
        if not parts:
            raise InputError(field, "no batch", "a loader that gives batches")
        found: np.ndarray = np.concatenate(parts)
        return found

    @property
    def num_classes(self) -> int:
        """Number of classes C: as given, or the module's, or of the names, or one more than the largest label."""
        known = self._num_classes if self._num_classes is not None else getattr(self.source_module, "num_classes", None)
        if known is None:
            known = len(self._names()) or 1 + max(int(self.labels(split).max()) for split in SPLITS)
        return whole_number("data.num_classes", known)

    @property
    def class_names(self) -> list[str]:
        """Name of each class: as given, or the module's, or numbers."""
        return self._names() or [str(number) for number in range(self.num_classes)]

    def _names(self) -> list[str]:
        """The names that were given, or the module's; empty if there are none."""
        own = getattr(self.source_module, "class_names", None)
        return self._class_names or ([] if own is None else names_in_order("data.class_names", own))

    @property
    def input_spec(self) -> dict[str, Any]:
        """What networks expect: the module's own description, or the shape of the loaders' inputs, as they are."""
        own = getattr(self.source_module, "input_spec", None)
        if own is not None:
            if not isinstance(own, Mapping):
                expected = "a mapping (see nni_hypens.data.protocols.LabelledData), or another name for this attribute"
                raise InputError("data.input_spec", kind(own), expected)
            return dict(own)
        self.labels("validation")
        if self._shape is None:
            self._read("validation")  # labels of the module itself do not show an input
        assert self._shape is not None
        neutral = {"scale": 1.0, "mean": [0.0] * self._shape[0], "std": [1.0] * self._shape[0]}
        if len(self._shape) == 3:
            return dict(zip(("channels", "height", "width"), self._shape, strict=True)) | neutral
        return {"shape": list(self._shape), **neutral}

    def describe(self) -> dict[str, Any]:
        """Summary for JSON: what the module's own method says, if it returns a mapping for JSON, and what is read."""
        own = summary(getattr(self.source_module, "describe", None)) or {}
        source = own.get("source")
        return own | {
            "source": source if isinstance(source, str) else self._name(),
            "sizes": {split: len(self.labels(split)) for split in SPLITS},
            "input_spec": self.input_spec,
            "num_classes": self.num_classes,
            "class_names": self.class_names,
        }

    def _name(self) -> str:
        """What the data are called if they do not say it."""
        return "own loaders" if isinstance(self.source_module, Mapping) else type(self.source_module).__name__


def described(data: Any) -> Any:
    """Data of a run: those that say everything as they are, others with what is missing worked out.

    Raises:
        InputError: Neither a data module nor loaders.
    """
    if all(hasattr(data, name) for name in NEEDED):
        return data
    if isinstance(data, pl.LightningDataModule | Mapping) or all(hasattr(data, name) for name in SPLITS.values()):
        return DescribedData(data)
    expected = "a Lightning data module, or {'train': loader, 'validation': loader, 'test': loader}"
    raise InputError("data", f"a {type(data).__name__}", expected)
