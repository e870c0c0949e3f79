from __future__ import annotations

import argparse

import pytest

from nni_hypens.cli.main import build_parser
from nni_hypens.cli.parser import MEANT, Parser
from nni_hypens.utils.checks import nearest


def parser() -> Parser:
    whole = Parser(prog="p", examples="examples:\n  p run --members 3\n")
    commands = whole.add_subparsers(dest="command", required=True, parser_class=Parser)
    run = commands.add_parser("run", examples="examples:\n  p run   as it is\n")
    run.add_argument("--members", type=int)
    run.add_argument("file", nargs="?")
    commands.add_parser("inside")
    whole.commands, whole.hidden = commands.choices, ("inside",)
    return whole


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        parser().parse_all(words.split())
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def test_what_is_not_there_names_what_is_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    flag = refused("run --membrs 3", capsys)
    assert flag.startswith("p run: --membrs: got an unknown flag; expected a flag that `p run --help` lists")
    assert flag.endswith("; nearest: --members\n")
    assert refused("run --membrs=3", capsys) == flag
    assert "nearest" not in refused("run --xyzzy", capsys)
    assert refused("rum", capsys) == "p: command: got 'rum'; expected one of run; nearest: run\n"
    assert "got second beyond what `p run --help` lists" in refused("run first second", capsys)
    assert "invalid int value: 'three'" in refused("run --members three", capsys)
    assert "--member: got an unknown flag" in refused("run --member 3", capsys)  # no abbreviations: more flags may come


def test_flags_of_other_tools_are_answered_with_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--accelerator gpu" in refused("run --device cuda", capsys)
    every = build_parser().commands["run"]._option_string_actions
    for flag, answer in MEANT.items():
        assert flag not in every
        assert all(word.strip(",") in every for word in answer.split() if word.startswith("--"))


def test_what_is_there_is_parsed() -> None:
    found = parser().parse_all(["run", "--members", "3", "a.yaml"])
    assert found == argparse.Namespace(command="run", members=3, file="a.yaml")


def test_help_ends_with_the_examples_as_they_are() -> None:
    assert parser().commands["run"].format_help().endswith("examples:\n  p run   as it is\n")


def test_nearest() -> None:
    assert nearest("--seeed", ["--seed", "--out"]) == "; nearest: --seed" and nearest("x", ["--seed"]) == ""


def test_short_help_has_no_examples() -> None:
    whole = parser()
    assert "examples:" not in whole.short_help() and "examples:" in whole.format_help()


def test_help_shows_the_common_flags_and_help_all_every_one(capsys: pytest.CaptureFixture[str]) -> None:
    command = Parser(prog="p run", examples="examples:\n  p run\n")
    command.add_argument("--often", help="of ten")
    command.add_argument("--seldom", help="of a hundred")
    command.show_first(["--often"])
    first = command.format_help()
    assert "--often" in first and "--seldom" not in first and "1 more flags: p run --help-all" in first
    assert command.format_help() == first
    with pytest.raises(SystemExit) as ended:
        command.parse_all(["--help-all"])
    assert ended.value.code == 0
    every = capsys.readouterr().out
    assert "of ten" in every and "of a hundred" in every and "more flags" not in every
