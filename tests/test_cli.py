"""Bad input ends with exit code 2, one line, and nothing written; long work is in test_end_to_end.py."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from nni_hypens import __version__, cli


def arrays(n: int = 60, size: int = 8) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.integers(0, 256, (n, size, size), dtype=np.uint8),
        "y_train": np.arange(n) % 3,
        "x_test": generator.integers(0, 256, (n, size, size), dtype=np.uint8),
        "y_test": np.arange(n) % 3,
    }


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, out: Path | None = None) -> str:
    """The one line that a command ends with."""
    try:
        code = cli.main(list(arguments))
    except SystemExit as error:  # argparse
        code = error.code
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert len(captured.err.strip().splitlines()) == 1 and captured.out == ""
    if out is not None:
        assert not out.exists()
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "digitz"], "data.*digitz.*digits"),
        (["--data", "missing.npz"], "data.*missing.npz"),
        (["--space", "one_sell"], "space.*one_cell"),
        (["--members", "9"], "members.*9 of 8 candidates"),
        (["--members", "three"], "members.*three"),
        (["--lam-high", "5"], "lam_high.*5.*0..4"),
        (["--lam-low", "3", "--lam-high", "2"], "lam_low"),
        (["--base", "nowhere.json"], "base.*nowhere.json"),
        (["--port", "80"], "port.*80"),
        (["--concurrency", "0"], "concurrency"),
        (["--space-args", "channels"], "space_args.*NAME=VALUE"),
        (["--validation-size", "5"], "validation_size"),
        (["--train-size", "100000"], "train_size"),
        (["--augment", "mirror"], "augment.*crop_flip"),
        (["--resume", "--seed", "1"], "resume|--resume"),
        (["--halving", "--epochs", "5"], "halving.*5 epochs.*at least 6"),
        (["--halving", "--members", "7"], "halving.*8 candidates for 7 members"),
        (["--max-total-params", "0"], "max_total_params.*above 0"),
        (["--max-total-flops", "many"], "max_total_flops.*many"),
        (["--max-latency-ms", "-1"], "max_latency_ms.*above 0"),
        (["--ranking", "ensembel"], "ranking.*ensembel.*nearest: ensemble"),
        (["--sed", "1"], "sed"),
        (["settings.yaml"], "config.*settings.yaml"),
    ],
)
def test_bad_options(capsys, tmp_path: Path, monkeypatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    import re

    assert re.search(message, refused(capsys, "run", *arguments, "--out", str(out), out=out))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.zeros(60, dtype=int)}, "two classes|2 classes|class"),
        ({"x_train": np.full((60, 8, 8), np.nan)}, "x_train.*NaN"),
        ({"x_train": np.zeros((60, 64), dtype=np.uint8)}, "x_train"),
        ({"x_train": np.zeros((60, 7, 7), dtype=np.uint8)}, "x_train.*8"),
        ({"y_train": np.arange(59) % 3}, "y_train|x_train"),
        ({"x_test": np.zeros((60, 9, 9), dtype=np.uint8)}, "x_test"),
        ({"x_test": np.full((60, 8, 8), np.inf)}, "x_test"),
        ({"y_test": np.arange(60)}, "y_test"),
        ({"x_test": None}, "x_test"),
    ],
)
def test_bad_data(capsys, tmp_path: Path, change: dict, message: str) -> None:
    import re

    content = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "data.npz", **content)
    out = tmp_path / "run"
    error = refused(capsys, "run", "--data", str(tmp_path / "data.npz"), "--out", str(out), out=out)
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ({"normal/op_2_0": "skip_connect"}, "label.*normal/op_2_0.*another space"),
        ({}, "label.*nothing"),
        ([], "empty list"),
        ("text", "base"),
    ],
)
def test_bad_base(capsys, tmp_path: Path, base, message: str) -> None:
    import re

    path = tmp_path / "base.json"
    path.write_text(json.dumps(base))
    error = refused(capsys, "run", "--base", str(path), "--out", str(tmp_path / "run"), out=tmp_path / "run")
    assert re.search(message, error), error


def test_unknown_operation_in_base(capsys, tmp_path: Path) -> None:
    base = {f"node_{node}/input": [0] for node in range(4)}
    base |= {f"node_{node}/op_{source}": "skip_connect" for node in range(4) for source in range(node + 1)}
    path = tmp_path / "base.json"
    path.write_text(json.dumps({**base, "node_0/op_0": "skip_conect"}))
    error = refused(capsys, "run", "--base", str(path), "--out", str(tmp_path / "run"), out=tmp_path / "run")
    assert "node_0/op_0" in error and "nearest: skip_connect" in error


def test_folders_that_are_something_else(capsys, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    assert "holds other files" in refused(capsys, "run", "--out", str(tmp_path / "full"))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]
    assert "which is a file" in refused(capsys, "run", "--out", str(tmp_path / "full" / "thesis.tex"))
    assert "without config.yaml" in refused(capsys, "train", "--out", str(tmp_path / "nothing"))
    assert "without config.yaml" in refused(capsys, "run", "--resume", "--out", str(tmp_path / "nothing"))


def test_port_in_use(capsys, tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        error = refused(capsys, "run", "--port", port, "--out", str(tmp_path / "run"), out=tmp_path / "run")
    assert f"port: got {port}, which is in use" in error


def test_help_and_version(capsys) -> None:
    for arguments in (["--help"], ["run", "--help"], ["search", "--help"], ["select", "--help"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 0
    assert "--lam-high" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_flags_come_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("members: 2\nseed: 5\nspace_args: {channels: 4}\n")
    arguments = cli.build_parser().parse_args(["run", str(path), "--seed", "7", "--space-args", "nodes=3"])
    assert cli.settings_of(arguments) == {"members": 2, "seed": "7", "space_args": {"nodes": 3}}
