from __future__ import annotations

from pathlib import Path

from nni_hypens.utils.run_files import RunFiles

CONTRACT = {
    "config.yaml", "search/base.json", "search/hypernetwork.safetensors", "search/history.csv", "candidates.json",
    "candidates/c07/architecture.json", "candidates/c07/weights.safetensors", "candidates/c07/metrics.json",
    "candidates/c07/predictions.npz", "ensemble/ensemble.json", "results.json", "report.html",
}  # fmt: skip


def test_names_are_those_of_the_contract(tmp_path: Path) -> None:
    folder = RunFiles(tmp_path)
    search, candidate = folder.search, folder.candidate("c07")
    paths = [
        folder.config, search.base, search.hypernetwork, search.history, folder.candidates, candidate.architecture,
        candidate.weights, candidate.metrics, candidate.predictions, folder.ensemble_index, folder.results,
        folder.report,
    ]  # fmt: skip
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == CONTRACT


def test_no_two_files_have_one_name(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    holders = (files, files.search, files.candidate("c00"), files.candidate("c01"))
    paths = [
        path
        for holder in holders
        for name, kind in vars(type(holder)).items()
        if isinstance(kind, property) and isinstance(path := getattr(holder, name), Path)
    ]
    assert len(paths) > 30 and len(set(paths)) == len(paths)
    assert all(path.is_relative_to(tmp_path) for path in paths)
