"""The commands `nni-hypens export` and `nni-hypens predict`: a user's space, and the model card; answers are in
tests/ensemble/test_predict.py, and what is shown of them in test_predictions.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nni_hypens.cli.ensemble import load_space
from nni_hypens.errors import InputError


def test_a_space_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "space_of_a_user.py").write_text("from search_spaces import OneCell\n\nclass Mine(OneCell): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert load_space(None) is None and str(tmp_path) not in sys.path
    assert load_space("space_of_a_user:Mine").__name__ == "Mine"
    with pytest.raises(InputError, match="^space: got 'space_of_a_user:__doc__'; expected a subclass"):
        load_space("space_of_a_user:__doc__")
