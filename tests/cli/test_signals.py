"""SIGTERM and SIGHUP end a command like Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nni_hypens.cli import main as cli, signals
from nni_hypens.cli.signals import ended_by_signals


@pytest.fixture(autouse=True)
def not_deaf() -> Iterator[None]:
    """A shell that runs the tests in the background makes them deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ends(monkeypatch: pytest.MonkeyPatch, call: Any) -> int:
    """Exit code of a command that does something."""
    arguments = SimpleNamespace(call=call, command="run", out=None)
    monkeypatch.setattr(cli, "build_parser", lambda: SimpleNamespace(prog="x", parse_all=lambda words: arguments))
    return cli.main(["run"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
@pytest.mark.parametrize("error", [None, RuntimeError("the manager was ended, too"), SystemExit(1)])
def test_one_line_and_the_exit_code_of_the_signal(
    number: int,
    code: int,
    error: BaseException | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def call(arguments: Any) -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except KeyboardInterrupt:
            if number != signal.SIGINT:
                os.kill(os.getpid(), number)  # again, in the middle of the clean-up
            if error is not None:  # as torch makes of it while it is imported
                raise error from None
            raise
        return 0

    assert ends(monkeypatch, call) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("x: ")
    assert ("interrupted" if number == signal.SIGINT else signal.Signals(number).name) in lines[0]
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals() as got:
            os.kill(os.getpid(), signal.SIGHUP)
        assert got == []
        assert ends(monkeypatch, lambda arguments: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_clean_up_that_hangs_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "PATIENCE_SECONDS", 0.1)
    child = os.fork()
    if child == 0:
        with ended_by_signals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                time.sleep(60)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
