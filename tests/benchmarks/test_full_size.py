"""The page of the full-size run: what it collects and says, and that its command is one of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.cli.parser import Parser
from nni_hypens.cli.settings import add_settings, settings_of
from nni_hypens.run.settings import Settings
from nni_hypens.utils.files import write_json
from tests.benchmarks import full_size

ROOT = Path(__file__).parents[2]
SCORES = {"accuracy": 0.93, "nll": 0.2, "ece": 0.01, "brier": 0.1}


def finished(work: Path) -> None:
    costs = {"parameters": 10_000, "flops": 5e6}
    one = {"members": ["c01"], "method": "exhaustive", "costs": {"parameters": 4_000, "flops": 2e6}, **SCORES}
    every = {"members": ["c01", "c02"], "method": "all", "costs": {"parameters": 20_000, "flops": 9e6}, **SCORES}
    write_json(
        work / "run" / "results.json",
        {
            "sizes": [one, every],
            "members": [{}, {}, {}],
            "ensemble": {**SCORES, "nll": 0.1875},
            "ensemble_uncalibrated": {**SCORES, "nll": 0.25},
            "selection": {"costs": costs},
            "candidates": [{}] * 8,
            "cost": {"base_search_s": 1_800.0, "search_s": 1_800.0, "training_s": 7_200.0},
        },
    )
    write_json(work / "machine.json", {"peak_mb": 2_048.0, "cpu_s": 10_800.0, "wall_s": 9_000.0})


def test_the_page_says_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    finished(tmp_path)
    made: dict[str, Any] = full_size.parts(full_size.collected(tmp_path))
    names = set(re.findall(r"<!-- full_size: (\w+) -->", full_size.PAGE.read_text(encoding="utf-8")))
    assert names == set(made)
    rows = [line.split("|")[1].strip() for line in made["table"].splitlines()[2:]]
    assert rows == ["1 member", "3 members", "all, weighted: 2", "published, uncalibrated"]
    assert "0.1875" in made["table"] and "2.0 GB" in made["say_cost"] and "3.0 hours" in made["say_cost"]
    for part in ("took 1.00 hours", "8 candidates 2.00 hours", "0.2500"):
        assert part in made["say_cost"]


def test_the_run_takes_its_settings() -> None:
    parser = Parser()
    add_settings(parser)
    flags = full_size.command(Path("DIR"))[4:-2]
    settings = Settings.from_mapping(settings_of(parser.parse_args(flags)))
    settings.check()
    assert settings.space_args == {"channels": 12} and settings.candidates == 7 and settings.members == 5
