"""The commands `nni-hypens export` and `nni-hypens predict`: a user's space, and the table; answers are in
tests/ensemble/test_predict.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nni_hypens.cli.ensemble import load_space, table
from nni_hypens.errors import InputError


def row(image: str, label: str, epistemic: float | None) -> dict[str, Any]:
    return {"image": image, "label": label, "probability": 0.75, "entropy": 0.123456, "epistemic": epistemic}


def test_columns_stand_below_each_other() -> None:
    lines = table([row("a.png", "cat", 0.5), row("longer.png", "elephant", 0.25)]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["a.png", "cat", "0.7500", "0.1235", "0.5000"],
        ["longer.png", "elephant", "0.7500", "0.1235", "0.2500"],
    ]
    assert len({len(line) for line in lines}) == 1 and lines[1].index("cat") == lines[2].index("elephant")


def test_a_model_that_knows_no_members_has_no_column_for_them() -> None:
    header, line = table([row("a.png", "cat", None)]).splitlines()
    assert header.split() == ["image", "label", "probability", "entropy"] and len(line.split()) == 4


def test_a_space_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "space_of_a_user.py").write_text("from search_spaces import OneCell\n\nclass Mine(OneCell): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load_space(None) is None and str(tmp_path) not in sys.path
    assert load_space("space_of_a_user:Mine").__name__ == "Mine"
    with pytest.raises(InputError, match="^space: got 'space_of_a_user:__doc__'; expected a subclass"):
        load_space("space_of_a_user:__doc__")
