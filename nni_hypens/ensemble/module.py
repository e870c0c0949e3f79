"""`Ensemble`: a module that averages its members' predictions, calibrates them, and is saved in a folder.

A saved ensemble is `ensemble.json` and one safetensors file per member; `nni_hypens.ensemble.folder` reads it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from nni_hypens.ensemble.calibration import check_temperature
from nni_hypens.ensemble.conformal import read_conformal
from nni_hypens.ensemble.folder import (
    FORMAT_VERSION,
    INDEX_FILE,
    encode,
    file_in,
    installed_versions,
    load_member,
    read_index,
    trusted_class,
)
from nni_hypens.ensemble.info import EnsembleInfo
from nni_hypens.ensemble.names import LINEAR, POOLINGS
from nni_hypens.errors import InputError, reason
from nni_hypens.metrics.inputs import PROBABILITY_FLOOR, check_probabilities
from nni_hypens.utils.checks import one_of
from nni_hypens.utils.files import json_text, write_text
from nni_hypens.utils.images import normalise
from nni_hypens.utils.inputs import is_image, noun, raw_shape, shape_text
from nni_hypens.utils.ranges import check_values
from nni_hypens.utils.run_files import EXPORTED_FILES, MODEL_CARD, is_written_card
from nni_hypens.utils.tensors import write_tensors
from nni_hypens.utils.values import as_numbers


class Ensemble(nn.Module):
    """Weighted average of the members' predictions, calibrated by temperatures.

    Args:
        members: Networks that map `B x C_in x H x W`, or `B x shape`, to logits `B x C`.
        weights: One positive weight per member, divided by their sum; None for equal weights.
        temperature: T in 0.001..1000, applied to the average.
        member_temperatures: One T per member, applied to its probabilities before they are averaged; None for 1.
        pooling: "linear": the average of the probabilities. "log": of the log-probabilities, renormalised. It is the
            one that the temperatures were fitted for: `calibrate` has "log" by default.
        info: Description of members, classes, input and space.

    Raises:
        InputError: An argument has the wrong length or values.

    Examples:
        >>> networks = [nn.Sequential(nn.Flatten(), nn.Linear(16, 2)) for _ in range(2)]
        >>> info = EnsembleInfo(
        ...     ids=["a", "b"], architectures=[{}, {}], lams=[None, None], shared_edges=[None, None],
        ...     labels=["cat", "dog"],
        ...     input_spec={"channels": 1, "height": 4, "width": 4, "scale": 255, "mean": [0.5], "std": [0.2]},
        ...     space={"class": "my_package:MySpace", "args": {}},
        ... )
        >>> ensemble = Ensemble(networks, weights=[2, 1], temperature=1.5, info=info)
        >>> ensemble.predict(np.zeros((3, 4, 4), dtype=np.uint8)).shape
        (3, 2)
    """

    weights: torch.Tensor
    temperature: torch.Tensor
    member_temperatures: torch.Tensor

    def __init__(
        self,
        members: Sequence[nn.Module],
        weights: Sequence[float] | NDArray[np.float64] | None = None,
        temperature: float = 1.0,
        *,
        info: EnsembleInfo,
        member_temperatures: Sequence[float] | None = None,
        pooling: str = LINEAR,
    ) -> None:
        super().__init__()
        one_of("pooling", pooling, POOLINGS)
        if not members:
            raise InputError("members", "none", "at least one network")
        info.check(len(members))
        check_temperature(temperature)
        temperatures = [1.0] * len(members) if member_temperatures is None else [float(t) for t in member_temperatures]
        if len(temperatures) != len(members):
            raise InputError("member_temperatures", f"{len(temperatures)} of them", f"{len(members)}, one per member")
        for value in temperatures:
            check_temperature(value)
        share = np.ones(len(members)) if weights is None else np.asarray(weights, dtype=np.float64)
        if share.shape != (len(members),) or not (np.isfinite(share.sum()) and (share > 0).all()):
            raise InputError("weights", weights, f"{len(members)} positive numbers, one per member")
        self.members = nn.ModuleList(members)
        self.info, self.pooling = info, pooling
        self.register_buffer("weights", torch.tensor(share / share.sum(), dtype=torch.float32))
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))
        self.register_buffer("member_temperatures", torch.tensor(temperatures, dtype=torch.float32))
        self._tempered = any(value != 1 for value in temperatures)

    def __repr__(self) -> str:
        share = ", ".join(f"{weight:.3g}" for weight in self.weights.tolist())
        parameters = sum(value.numel() for value in self.parameters())
        return (
            f"Ensemble({len(self.members)} members: {', '.join(self.info.ids)}; weights {share}; "
            f"{len(self.info.labels)} classes; {shape_text(self.info.input_spec)}; "
            f"{self.pooling} average, temperature {float(self.temperature):.3g}; {parameters:,} parameters)"
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities of examples that are scaled and normalised already; an exported file computes the same.

        Everything is computed in log space, with the same floor as `apply_temperature`; the result agrees with
        `combine`.

        Args:
            x: `B x C_in x H x W` float images, or `B x shape`, normalised as the members were trained.

        Returns:
            `B x C` probabilities.
        """
        return self._average(self.member_log_probabilities(x))

    def _average(self, log_p: torch.Tensor) -> torch.Tensor:
        """Probabilities `B x C` of the ensemble from log probabilities `M x B x C` of its members."""
        floor = math.log(PROBABILITY_FLOOR)
        if self._tempered:
            log_p = torch.log_softmax(log_p.clamp(min=floor) / self.member_temperatures.view(-1, 1, 1), dim=2)
        if self.pooling == LINEAR:
            log_mean = torch.logsumexp(log_p + self.weights.log().view(-1, 1, 1), dim=0)  # B x C
        else:
            log_mean = torch.log_softmax((log_p.clamp(min=floor) * self.weights.view(-1, 1, 1)).sum(dim=0), dim=1)
        return torch.softmax(log_mean.clamp(min=floor) / self.temperature, dim=1)

    def member_log_probabilities(self, x: torch.Tensor) -> torch.Tensor:
        """Log probabilities of each member, before average and temperature.

        Args:
            x: As for `forward`.

        Returns:
            `M x B x C` log probabilities.
        """
        return torch.stack([torch.log_softmax(member(x), dim=1) for member in self.members])

    def predict(self, images: ArrayLike, batch_size: int = 256) -> NDArray[np.float32]:
        """Probabilities of raw examples, in evaluation mode and without gradients.

        Divides by the input spec's scale, normalises per channel or feature, and leaves training modes as they were.

        Args:
            images: Images `N x H x W x C_in`, or `N x H x W` for one channel, or other tensors `N x shape`, such as a
                DataFrame of the features; integers or floats as in the data's source.
            batch_size: Examples per forward pass.

        Returns:
            `N x C` probabilities.

        Raises:
            InputError: If `images` is not what the input spec describes, or the members answer NaN.
        """
        return self._checked(np.concatenate(self._batches(self, images, batch_size)))

    def _checked(self, probs: NDArray[np.float32]) -> NDArray[np.float32]:
        if probs.shape[1] != len(self.info.labels):
            raise InputError("info.labels", f"{len(self.info.labels)} names", f"{probs.shape[1]}, one per class")
        check_probabilities(probs, "predictions of the ensemble")
        return probs

    def predict_members(self, images: ArrayLike, batch_size: int = 256) -> NDArray[np.float32]:
        """Probabilities of each member for raw examples, before average and temperature.

        Args:
            images: As for `predict`.
            batch_size: Examples per forward pass.

        Returns:
            `M x N x C` probabilities.

        Raises:
            InputError: If `images` is not what the input spec describes, or a member answers NaN.
        """
        parts = self._batches(lambda x: self.member_log_probabilities(x).exp(), images, batch_size)
        probs = np.concatenate(parts, axis=1)
        check_probabilities(probs, "predictions of the members", ndim=3)
        return probs

    def predict_both(self, images: ArrayLike, batch_size: int = 256) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `predict` and `predict_members` return, from one pass through the members.

        Args:
            images: As for `predict`.
            batch_size: Examples per forward pass.

        Returns:
            `N x C` probabilities of the ensemble, and `M x N x C` of its members.

        Raises:
            InputError: As for `predict`.
        """

        def both(x: torch.Tensor) -> torch.Tensor:
            log_p = self.member_log_probabilities(x)
            return torch.cat([self._average(log_p)[None], log_p.exp()])

        parts = np.concatenate(self._batches(both, images, batch_size), axis=1)
        check_probabilities(parts[1:], "predictions of the members", ndim=3)
        return self._checked(parts[0]), parts[1:]

    def _batches(
        self, function: Callable[[torch.Tensor], torch.Tensor], images: ArrayLike, batch_size: int
    ) -> list[NDArray[np.float32]]:
        x = torch.from_numpy(_normalised(np.asarray(images), self.info.input_spec))
        with evaluation(self), torch.no_grad():
            return [function(batch.to(self.weights.device)).cpu().numpy() for batch in torch.split(x, batch_size)]

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `member-ID.safetensors` files and `ensemble.json` into a folder, which is created if it is missing.

        All files are first written under temporary names. An older index is removed before any weights are replaced,
        and the new index is written last, so that an index never describes other weights, even after an interruption.
        If the folder holds an ensemble, its exported files and members go; in other folders nothing else is touched.

        Args:
            directory: The folder.

        Raises:
            InputError: The info holds a value that JSON cannot store.
        """
        folder = Path(directory)
        index = self._index()
        try:
            text = json_text(index, indent=2) + "\n"
        except (TypeError, ValueError) as error:
            raise InputError("info", reason(error), "finite numbers, strings, lists and dictionaries") from error
        folder.mkdir(parents=True, exist_ok=True)
        replaces = (folder / INDEX_FILE).exists()
        names = [member["file"] for member in index["members"]]
        staged = [folder / f".{name}.{os.getpid()}.tmp" for name in names]
        try:
            for member, path in zip(self.members, staged, strict=True):
                # Copies, because safetensors refuses tensors that share memory.
                state = {key: value.detach().cpu().contiguous().clone() for key, value in member.state_dict().items()}
                write_tensors(path, state)
            for name in (*EXPORTED_FILES, INDEX_FILE) if replaces else ():  # the index last: it says that they are ours
                (folder / name).unlink(missing_ok=True)
            if is_written_card(folder / MODEL_CARD):
                (folder / MODEL_CARD).unlink()
            for path, name in zip(staged, names, strict=True):
                os.replace(path, folder / name)
            write_text(folder / INDEX_FILE, text)
        finally:
            for path in staged:
                path.unlink(missing_ok=True)
        for path in folder.glob("member-*.safetensors") if replaces else ():
            if path.name not in names:
                path.unlink()

    def _index(self) -> dict[str, Any]:
        info = self.info
        members = [
            {
                "id": info.ids[i],
                "file": f"member-{info.ids[i]}.safetensors",
                "weight": float(self.weights[i]),
                "lam": encode(info.lams[i]),
                "shared_edges": encode(info.shared_edges[i]),
                "architecture": encode(info.architectures[i]),
                **({"temperature": float(self.member_temperatures[i])} if self._format_version > 1 else {}),
            }
            for i in range(len(self.members))
        ]
        return {
            # Version 2 adds a temperature per member, version 3 the pooling. What needs neither is written as version
            # 1, which older programs can read.
            "format_version": self._format_version,
            "members": members,
            "temperature": float(self.temperature),
            **({} if self.pooling == LINEAR else {"pooling": self.pooling}),
            "labels": list(info.labels),
            "input": encode(info.input_spec),
            "space": {"class": info.space["class"], "args": encode(info.space["args"])},
            "versions": installed_versions(),
            # Programs that do not know prediction sets pass over this key.
            **({} if info.conformal is None else {"conformal": info.conformal.to_json()}),
        }

    @property
    def _format_version(self) -> int:
        return FORMAT_VERSION if self.pooling != LINEAR else 2 if self._tempered else 1

    @classmethod
    def load(cls, directory: str | os.PathLike[str], space: Callable[..., nn.Module] | None = None) -> Ensemble:
        """Read an ensemble that `save` wrote.

        Args:
            directory: The folder.
            space: The model space's class. Needed when it is outside `search_spaces` and `nni.nas.hub.pytorch`,
                because otherwise the file could choose which code is imported and run.

        Returns:
            The ensemble on the CPU, in evaluation mode.

        Raises:
            InputError: A file is missing or malformed; weights do not fit their network or are not finite; a network
                does not fit the input spec or the labels.
        """
        folder = Path(directory)
        index = read_index(folder)
        entries = index["members"]
        info = EnsembleInfo(
            ids=[entry["id"] for entry in entries],
            architectures=[entry["architecture"] for entry in entries],
            lams=[entry["lam"] for entry in entries],
            shared_edges=[entry["shared_edges"] for entry in entries],
            labels=index["labels"],
            input_spec=index["input"],
            space=index["space"],
            conformal=read_conformal(index.get("conformal"), INDEX_FILE),
        )
        info.check(len(entries))
        build = space if space is not None else trusted_class(info.space["class"])
        files = [file_in(folder, entry["file"]) for entry in entries]  # check all of them before building anything
        members = [load_member(build, index, i, path) for i, path in enumerate(files)]
        weights = [entry["weight"] for entry in entries]
        temperatures = [entry["temperature"] for entry in entries] if index["format_version"] > 1 else None
        pooling = index["pooling"] if index["format_version"] > 2 else LINEAR
        return cls(
            members,
            weights,
            float(index["temperature"]),
            info=info,
            member_temperatures=temperatures,
            pooling=pooling,
        ).eval()


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a block, and restore the mode of every part afterwards.

    Examples:
        >>> network = nn.Sequential(nn.Dropout(0.5))
        >>> with evaluation(network):
        ...     network.training, network[0].training
        (False, False)
        >>> network.training, network[0].training
        (True, True)
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _normalised(images: NDArray[Any], spec: dict[str, Any]) -> NDArray[np.float32]:
    """Raw images `N x H x W x C_in` or `N x H x W` as float32 `N x C_in x H x W`, or `N x shape`, normalised."""
    wanted, shape, what = raw_shape(spec), images.shape, noun(spec)
    batch = images[..., None] if is_image(spec) and images.ndim == 3 and wanted[2] == 1 else images
    if batch.shape[1:] != wanted or len(batch) == 0:
        raise InputError(f"{what}s", f"shape {shape}", f"shape N x {' x '.join(map(str, wanted))}, N at least 1")
    batch = as_numbers(batch, f"{what}s")
    if not np.isfinite(batch).all():
        raise InputError(f"{what}s", "NaN or infinite values", "finite values")
    check_values(batch, spec, f"{what}s")
    return normalise(batch, spec)
