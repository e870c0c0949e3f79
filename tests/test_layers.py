"""Imports run downward only: each module may import those that stand before it here."""

from __future__ import annotations

import ast
from pathlib import Path

import nni_hypens
import search_spaces

ORDER = [
    "errors", "live_trial", "_compat", "files", "candidate_files", "architecture", "hypernetwork", "ranks",
    "known_results",
    "metrics", "intervals", "selection_scores", "selection_limits", "selection_task", "selection", "uncertainty",
    "corruptions", "image_arrays", "sources", "ood", "batches", "diversity", "budget", "ensemble_cost",
    "expected_cost", "supernet", "mixed_operations", "hub_support", "inherit", "data", "example_images",
    "calibration", "ensemble_files", "services", "remote", "ensemble", "robustness", "sampling", "adaptive",
    "evaluators", "progress", "schedule", "search_checks", "user_module", "search_module", "curves", "live_reports",
    "search", "dial_range", "halving", "training", "candidate_training", "trial_process", "remote_training",
    "experiments", "live", "evaluation", "config", "plot_data", "plot_cells", "plot_cost", "plots",
    "plot_intervals", "report_reading", "report_html", "report_results", "report_examples", "report_known",
    "report_members", "report", "plan", "traits", "promising", "settings_plan", "search_stage", "sample_stage",
    "adaptive_stage", "train_stage", "pipeline", "api", "fold", "export", "predict", "deploy", "workbench",
    "one_shot", "supernet_truth", "method_parts", "baselines_nes", "baselines", "comparison", "comparison_tables",
    "comparison_data", "comparison_plots", "comparison_page", "cli_parser", "cli_summary", "cli_settings",
    "compare_command", "doctor", "cli",
]  # fmt: skip


def imported(path: Path) -> set[str]:
    """Modules of nni_hypens that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "nni_hypens":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nni_hypens."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("nni_hypens.")}
    return found - {"__version__"}


def test_imports_run_downward() -> None:
    folder = Path(nni_hypens.__file__).parent
    for path in sorted(folder.glob("*.py")):
        if path.stem == "__init__":  # lazy
            continue
        assert path.stem in ORDER, f"{path.name} has no place in the order"
        above = imported(path) - set(ORDER[: ORDER.index(path.stem)])
        assert not above, f"{path.name} imports {above}, which stand above it"


def test_spaces_need_little() -> None:
    for path in Path(search_spaces.__file__).parent.glob("*.py"):
        assert imported(path) <= {"architecture", "errors"}, path.name
