"""What a finished run gives in Python: its ensemble, its measurements as tables, its figures, and predictions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from nni.nas.nn.pytorch import ModelSpace
from numpy.typing import ArrayLike, NDArray

from nni_hypens.ensemble.module import Ensemble
from nni_hypens.ensemble.reading import read_inputs
from nni_hypens.errors import InputError
from nni_hypens.report.card import result_card
from nni_hypens.report.content import RunContent, read_run
from nni_hypens.report.plots import plot_axes
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.leaderboard import COLUMNS, candidate_rows
from nni_hypens.utils.checks import one_of
from nni_hypens.utils.run_files import RunFiles


@dataclass(repr=False)
class EnsembleResult:
    """What `search_ensemble` returns, and `EnsembleResult.load` reads again.

    In a notebook it shows itself as a card with the verdict.

    Args:
        out: The run folder.
        results: The content of ``results.json``.
        space: Class of the model space.
    """

    out: Path
    results: dict[str, Any]
    space: type[ModelSpace] | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike[str], space: type[ModelSpace] | None = None) -> EnsembleResult:
        """Read a finished run, of `search_ensemble` or of the command line.

        Args:
            folder: The run folder.
            space: Class of the model space, if it is your own: no file can choose which code is imported.

        Raises:
            InputError: There is no run folder, or its run has not measured its ensemble yet.

        Examples:
            A run of the command line, later and in another process::

                result = EnsembleResult.load("runs/digits-one_cell-0")
                result.predict(["picture.png"])
        """
        out = Path(folder)
        if not RunFiles(out).config.is_file():
            raise InputError("folder", str(out), "a run folder: --out of `nni-hypens run`, or out of search_ensemble")
        return cls(out, RunFolder(out).read_results(), space)

    @cached_property
    def ensemble(self) -> Ensemble:
        """The calibrated ensemble, read from the run folder once."""
        return Ensemble.load(RunFiles(self.out).ensemble, self.space)

    @property
    def report(self) -> Path:
        """The page with all results."""
        return RunFiles(self.out).report

    def __repr__(self) -> str:
        ours, best = self.results["ensemble"], self.results["best_member"]
        return (
            f"EnsembleResult({str(self.out)!r}: {len(self.results['members'])} members, test accuracy "
            f"{ours['accuracy']:.2%} (best member {best['accuracy']:.2%}), NLL {ours['nll']:.4f} ({best['nll']:.4f}))"
        )

    def _repr_html_(self) -> str:
        return result_card(self.results, self.report if self.report.is_file() else None)

    # ---- predictions ------------------------------------------------------------------------------------------------

    def predict_proba(self, images: ArrayLike | Sequence[str | os.PathLike[str]]) -> NDArray[np.float32]:
        """Probabilities of images, or of rows of a table.

        Args:
            images: `N x H x W x C_in` or `N x H x W` raw images as in the data, the rows of a table (`N x F`, for
                example a DataFrame of the features), or a list of files as `nni-hypens predict` reads them.

        Returns:
            `N x C` probabilities, in the order of `labels`.

        Raises:
            InputError: Images of another form or size, or a file that cannot be read.
        """
        if isinstance(images, (str, os.PathLike)):
            images = [images]
        if isinstance(images, Sequence) and images and all(isinstance(one, (str, os.PathLike)) for one in images):
            images = read_inputs(images, self.ensemble.info.input_spec)[1]  # type: ignore[arg-type]
        return self.ensemble.predict(images)  # type: ignore[arg-type]

    def predict(self, images: ArrayLike | Sequence[str | os.PathLike[str]]) -> list[str]:
        """Names of the most probable classes of images.

        Args:
            images: As for `predict_proba`.

        Raises:
            InputError: As for `predict_proba`.
        """
        return [self.labels[index] for index in self.predict_proba(images).argmax(axis=1)]

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return list(self.ensemble.info.labels)

    # ---- figures ----------------------------------------------------------------------------------------------------

    @cached_property
    def _content(self) -> RunContent:
        """The files of the run, as the report reads them."""
        return read_run(self.out)

    def plot_dial(self) -> Axes:
        """Shared edges of the candidates against `lam`."""
        return plot_axes(self._content, "dial")[0]

    def plot_accuracy(self) -> Axes:
        """Accuracy of the candidates against the edges that they share with the base."""
        return plot_axes(self._content, "accuracy")[0]

    def plot_reliability(self) -> tuple[Axes, ...]:
        """Reliability diagram of ensemble and best member, and the share of images in each bin."""
        return plot_axes(self._content, "reliability")

    def plot_disagreement(self) -> Axes:
        """Pairwise disagreement of the members."""
        return plot_axes(self._content, "disagreement")[0]

    def plot_confusion(self) -> Axes:
        """The confusion matrix of the ensemble."""
        return plot_axes(self._content, "confusion")[0]

    def plot_uncertainty(self) -> Axes:
        """Mean entropies of test images and of out-of-distribution images."""
        return plot_axes(self._content, "uncertainty")[0]

    def plot_corruptions(self) -> tuple[Axes, ...]:
        """Accuracy, and below it NLL, against the severity of corruptions."""
        return plot_axes(self._content, "corruptions")

    def plot_cost_front(self, by: str = "parameters") -> Axes:
        """Validation NLL of ensembles against their total cost.

        Args:
            by: "parameters" or "flops".
        """
        one_of("by", by, ("parameters", "flops"))
        return plot_axes(self._content, f"cost_front, {by}")[0]

    def plot_differences(self, measure: str = "nll") -> Axes:
        """The ensemble minus each other model, with intervals.

        Args:
            measure: "nll" or "accuracy".
        """
        one_of("measure", measure, ("nll", "accuracy"))
        return plot_axes(self._content, f"differences, {measure}")[0]

    def plot_history(self) -> tuple[Axes, ...]:
        """The search, epoch by epoch."""
        return plot_axes(self._content, "history")

    # ---- tables -----------------------------------------------------------------------------------------------------

    def leaderboard(self) -> pd.DataFrame:
        """All candidates, the lowest NLL on validation data first, as `nni-hypens leaderboard` lists them.

        `nll` and `accuracy` are those of validation data; `member` is the weight in the ensemble.
        """
        return pd.DataFrame(candidate_rows(self.out), columns=list(COLUMNS))

    @property
    def classes(self) -> pd.DataFrame:
        """One row per class: its test images, and the share that ensemble and best member recognise."""
        found, names = self.results["classes"], self.results["data"]["class_names"]
        table = pd.DataFrame({"images": found["images"]}, index=pd.Index(names, name="class"))
        table["accuracy"] = np.array(found["right"]) / table["images"]
        table["best_member_accuracy"] = np.array(found["best_member_right"]) / table["images"]
        return table

    @property
    def confusion(self) -> pd.DataFrame:
        """Test images by true class (rows) and by the ensemble's answer (columns)."""
        found, names = self.results["classes"], self.results["data"]["class_names"]
        counts = np.diag(found["right"])
        for label, answer, images in found["confused"]:
            counts[label, answer] = images
        return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=pd.Index(names, name="answer"))

    @property
    def members(self) -> pd.DataFrame:
        """One row per member: its test metrics, its temperature, and why it was chosen.

        `validation_gain` and `test_gain` are the NLL of the average without the member minus the NLL with it;
        `swap_gain` is the validation NLL with the best other candidate (`swap_for`) in its place, minus that with the
        member; `disagreement`, `right_alone`, `wrong_alone` and `right_of_majority_wrong` compare it with the others.
        """
        return pd.DataFrame(self.results["members"])

    @property
    def candidates(self) -> pd.DataFrame:
        """One row per candidate."""
        return pd.json_normalize(self.results["candidates"])

    @property
    def metrics(self) -> pd.DataFrame:
        """Test accuracy, NLL, ECE, Brier score and AURC of ensemble, best member and baselines."""
        rows = {
            "ensemble": self.results["ensemble"],
            "ensemble, uncalibrated": self.results["ensemble_uncalibrated"],
            "best member": self.results["best_member"],
        }
        rows |= {row["name"]: row for row in self.results["baselines"]}
        return pd.DataFrame(rows).T[["accuracy", "nll", "ece", "brier", "aurc"]].astype(float)

    @property
    def top_k(self) -> pd.DataFrame:
        """Top-k accuracy on test data: one row per model, one column per k; empty for two classes."""
        return pd.DataFrame(self.results.get("top_k", [])).rename(columns={"name": "model"})

    @property
    def prediction_sets(self) -> pd.DataFrame:
        """Prediction sets of the ensemble on test data: one row per coverage that was asked for."""
        return pd.DataFrame(self.results.get("prediction_sets", {}).get("rows", []))

    @property
    def disagreement(self) -> pd.DataFrame:
        """Share of test examples on which two members predict different classes; members by members.

        Raises:
            InputError: There are so many members that a run does not measure all pairs.
        """
        ids = [row["id"] for row in self.results["members"]]
        pairwise = self.results["diversity"].get("pairwise")
        if pairwise is None:
            wanted = "a run of at most 100 members; `members` has the mean disagreement of each"
            raise InputError("disagreement", f"{len(ids)} members", wanted)
        return pd.DataFrame(pairwise, index=ids, columns=ids)

    @property
    def calibration(self) -> pd.DataFrame:
        """Test metrics and temperatures of the ensemble under each pooling and calibration method."""
        rows = pd.DataFrame(self.results["calibration"]["rows"])
        return rows.set_index(["pooling", "method"] if "pooling" in rows else "method")  # older runs have one pooling

    @property
    def uncertainty(self) -> pd.DataFrame:
        """Mean total, aleatoric and epistemic entropy (nats) of test examples: all, right and wrong ones."""
        return pd.DataFrame(self.results["uncertainty"]["rows"]).set_index("examples")

    @property
    def cost_front(self) -> pd.DataFrame:
        """Pareto front of ensembles of the candidates: validation NLL against the total cost that ``by`` names."""
        return pd.DataFrame(self.results["cost_front"]["rows"])

    @property
    def ood(self) -> pd.DataFrame:
        """One row per out-of-distribution set: AUROC by score, and mean entropies; empty if none was measured."""
        return pd.json_normalize(self.results["ood"].get("sets", []))

    @property
    def corruptions(self) -> pd.DataFrame:
        """Accuracy, NLL and ECE by corruption, severity (0: clean) and model; empty if none was measured."""
        return pd.DataFrame(self.results["corruptions"].get("rows", []))
