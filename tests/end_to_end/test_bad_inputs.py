"""One table of bad inputs over all commands: exit code 2, one line that names the field, what was got and what would
do, and nothing written."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.support.commands import ENVIRONMENT, SETTINGS, Ended, command, listing
from tests.support.loaded import PATIENCE

USER_MODULE = """
import numpy as np
from nni.nas.nn.pytorch import ModelSpace

def raises() -> dict[str, np.ndarray]:
    raise KeyError("no such table")

def rubbish() -> dict[str, np.ndarray]:
    return 42

def lacks() -> dict[str, np.ndarray]:
    return {"x_train": np.zeros((20, 8, 8))}

number = 7

class Fails(ModelSpace):
    def __init__(self):
        raise KeyError("depth")

class NoSpace:
    pass
"""


class Bad(NamedTuple):
    """Arguments, and what the line says, a regular expression: field, then what was got, then what would do."""

    arguments: str
    says: str


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    good = {"x_train": images, "y_train": np.arange(60) % 3, "x_test": images, "y_test": np.arange(60) % 3}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


DATA = {
    "no_test": arrays(x_test=None),
    "text": arrays(y_train=np.array(["cat", "dog", "cow"] * 20)),
    "pickled": arrays(x_train=np.array([{"a": 1}] * 60, dtype=object)),
    "flat": arrays(x_train=np.zeros((60, 64))),
    "float_labels": arrays(y_train=np.arange(60) % 3 + 0.5),
    "negative": arrays(y_train=np.arange(60) % 3 - 1),
    "unseen": arrays(y_test=np.arange(60) % 4),
    "short": arrays(y_train=np.arange(59) % 3),
    "empty": arrays(x_train=np.zeros((0, 8, 8)), y_train=np.zeros(0, dtype=int)),
    "nan": arrays(x_train=np.full((60, 8, 8), np.nan)),
    "sizes": arrays(x_test=np.zeros((60, 9, 9), dtype=np.uint8)),
    "single": arrays(y_train=np.arange(60) // 59),
    "small": arrays(x_train=np.zeros((60, 7, 7), dtype=np.uint8)),
    "infinite": arrays(x_test=np.full((60, 8, 8), np.inf)),
    "unknown": arrays(x_vall=np.zeros((60, 8, 8))),
    "complex": arrays(x_train=np.zeros((60, 8, 8), dtype=complex)),
}
TEXTS = {
    "broken.yaml": "members: [3",
    "cut.yaml": "data: digits\nspace_args: {channels: 2",
    "list.yaml": "- members\n- 3\n",
    "unknown.yaml": "membrs: 3\n",
    "type.yaml": "members: {a: 1}\n",
    "infinite.yaml": "members: .inf\n",
    "date.yaml": "learning_rate: 2024-01-01\n",
    "code.yaml": "members: !!python/object/apply:os.getcwd []\n",
    "nested.yaml": "space_args: 5\n",
    "number_key.yaml": "3: 4\n",
    "text_bool.yaml": "warm_start: perhaps\n",
    "broken.json": '{"node_0/op_0": ',
    "other.json": '{"normal/op_2_0": "skip_connect"}',
    "list.json": "[]",
    "nothing.json": "{}",
    "text.json": '"base"',
    "operation.json": json.dumps(
        {f"node_{node}/input": [0] for node in range(4)}
        | {f"node_{node}/op_{source}": "skip_connect" for node in range(4) for source in range(node + 1)}
        | {"node_0/op_0": "skip_conect"}
    ),
    "not_npz.npz": "no archive",
    "a_file": "years of work",
    "notes.txt": "no image",
    "broken.onnx": "no graph",
    "broken.pt2": "no program",
    "user_module.py": USER_MODULE,
    "broken_module.py": "def f(:\n",
    "raising_module.py": "1 / 0\n",
}
RUN = "run --out new "
ON = "--out {run} --quiet"
BAD = {
    # numbers
    "flag": Bad(RUN + "--membrs 3", r"--membrs: got an unknown flag; expected .*nearest: --members"),
    "flag-of-a-stage": Bad("train --out {run} --epochs 3", r"--epochs: got an unknown flag; expected"),
    "command": Bad("trian --out {run}", r"command: got 'trian'; expected one of run, .*; nearest: train"),
    "settings-are-wrong": Bad(RUN + "--members 9 --print-settings", r"members: got 9 of 8 candidates; expected"),
    "members-text": Bad(RUN + "--members three", r"members: got 'three'; expected a whole number"),
    "members-zero": Bad(RUN + "--members 0", r"members: got 0; expected .* at least 1"),
    "members-many": Bad(RUN + "--members 9", r"members: got 9 of 8 candidates; expected at most"),
    "members-half": Bad(RUN + "--members 2.5", r"members: got '2.5'; expected a whole number"),
    "candidates-negative": Bad(RUN + "--candidates -3 --members 1", r"candidates: got -3; expected"),
    "rate-zero": Bad(RUN + "--learning-rate 0", r"learning_rate: got 0.0; expected a number above 0"),
    "rate-nan": Bad(RUN + "--learning-rate nan", r"learning_rate: got NaN"),
    "rate-infinite": Bad(RUN + "--learning-rate inf", r"learning_rate: got inf; expected"),
    "decay-infinite": Bad(RUN + "--weight-decay inf", r"weight_decay: got inf; expected"),
    "epochs-zero": Bad(RUN + "--epochs 0", r"epochs: got 0"),
    "search-epochs": Bad(RUN + "--search-epochs 0", r"search_epochs: got 0"),
    "warmup": Bad(RUN + "--warmup-epochs 99", r"warmup_epochs: got 99 of search_epochs=.*; expected"),
    "batch-zero": Bad(RUN + "--batch-size 0", r"batch_size: got 0"),
    "seed-negative": Bad(RUN + "--seed -1", r"seed: got -1"),
    "seed-huge": Bad(RUN + "--seed 99999999999999999999", r"seed: got 9+; expected"),
    "threads": Bad(RUN + "--threads 0", r"threads: got 0"),
    "budget": Bad(RUN + "--budget 5", r"budget: got 5 epochs; expected at least one epoch"),
    "paths": Bad(RUN + "--paths some", r"paths: got 'some'; expected a whole number of at least 1, or all"),
    "max-params": Bad(RUN + "--max-params 0", r"max_params: got 0"),
    "lam-range": Bad(RUN + "--lam-low 3 --lam-high 2", r"lam_low: got 3, above lam_high=2; expected"),
    "lam-outside": Bad(RUN + "--lam-high 5", r"lam_high: got 5.0; expected a number in 0..4"),
    "lam-nan": Bad(RUN + "--lam-low nan", r"lam_low: got NaN"),
    "share-above": Bad(RUN + "--validation-size 1.5", r"validation_size: got 1.5; expected a share between 0 and 1"),
    "share-zero": Bad(RUN + "--validation-size 0", r"validation_size: got 0.0; expected a share between 0 and 1"),
    "validation-all": Bad(RUN + "--validation-size 1340", r"validation_size: got 1340 .*; expected 10 to"),
    "train-size": Bad(RUN + "--train-size 100000", r"train_size: got 100000; expected 10 .* to"),
    "test-size": Bad(RUN + "--test-size 100000", r"test_size: got 100000; expected 1 to"),
    "stress": Bad(RUN + "--stress-images -1", r"stress_images: got -1"),
    "concurrency": Bad(RUN + "--concurrency 0", r"concurrency: got 0; expected a whole number of at least 1"),
    "concurrency-text": Bad(RUN + "--concurrency many", r"concurrency: got .*; expected a whole number"),
    "per-trial": Bad("train {on} --per-trial 0", r"per_trial: got 0; expected a whole number of at least 1"),
    "more": Bad("sample {on} --more -1", r"more: got -1; expected a whole number of at least 0"),
    "port-low": Bad(RUN + "--port 80", r"port: got 80; expected a whole number in 1024..65535"),
    "port-high": Bad("train --out {sampled} --port 70000", r"port: got 70000; expected"),
    "port-taken": Bad("train --out {sampled} --port {port}", r"port: got {port}, which is in use; expected a free"),
    # names
    "data-name": Bad(RUN + "--data digitz", r"data: got 'digitz'; expected one of .*digits\?"),
    "space-name": Bad(RUN + "--space one_sell", r"space: got 'one_sell'; expected .*nearest: one_cell"),
    "selection-name": Bad(RUN + "--selection greedi", r"selection: got 'greedi'; expected .*nearest: greedy"),
    "objective-name": Bad(RUN + "--objective breir", r"objective: got 'breir'; expected .*nearest: brier"),
    "diversity-name": Bad(RUN + "--diversity jensen", r"diversity: got 'jensen'; expected .*nearest: jensen_shannon"),
    "calibration-name": Bad(RUN + "--calibration member", r"calibration: got 'member'; expected .*nearest: members"),
    "augment-name": Bad(RUN + "--augment crop_flop", r"augment: got 'crop_flop'; expected .*crop_flip"),
    "ood-name": Bad(RUN + "--ood svhn", r"ood: got 'svhn'; expected"),
    "space-args-name": Bad(RUN + "--space-args chanels=2", r"space_args.chanels: got 2; .*nearest: channels"),
    "space-args-form": Bad(RUN + "--space-args channels", r"space_args: got 'channels'; expected NAME=VALUE"),
    "space-args-yaml": Bad(RUN + "--space-args channels=[", r"space_args: got 'channels=\['; expected NAME=VALUE"),
    "space-args-value": Bad(RUN + "--space-args channels=-1", r"space_args.channels: got -1; expected"),
    "space-args-type": Bad(RUN + "--space-args channels=two", r"space_args.*two.*; expected"),
    # a configuration
    "config-missing": Bad(RUN + "nowhere.yaml", r"config: got nowhere.yaml; expected a readable YAML file"),
    "config-folder": Bad(RUN + "folder", r"config: got folder; expected a readable YAML file"),
    "config-broken": Bad(RUN + "broken.yaml", r"config: got broken.yaml; expected valid YAML"),
    "config-cut": Bad(RUN + "cut.yaml", r"config: got cut.yaml; expected valid YAML"),
    "config-bytes": Bad(RUN + "bytes.yaml", r"config: got bytes.yaml; expected valid YAML"),
    "config-list": Bad(RUN + "list.yaml", r"config: got list.yaml holding list; expected a mapping"),
    "config-key": Bad(RUN + "unknown.yaml", r"config: membrs: got 3; expected a known setting; nearest: members"),
    "config-number-key": Bad(RUN + "number_key.yaml", r"config: 3: got 4; expected a known setting"),
    "config-type": Bad(RUN + "type.yaml", r"members: got \{'a': 1\}; expected a whole number"),
    "config-infinite": Bad(RUN + "infinite.yaml", r"members: got inf; expected a whole number"),
    "config-date": Bad(RUN + "date.yaml", r"learning_rate: got .*2024.*; expected a number"),
    "config-code": Bad(RUN + "code.yaml", r"config: got code.yaml; expected valid YAML"),
    "config-no-mapping": Bad(RUN + "nested.yaml", r"space_args: got 5; expected a mapping"),
    "config-bool": Bad(RUN + "text_bool.yaml", r"warm_start: got 'perhaps'; expected true or false"),
    # arrays
    **{
        f"npz-{name}": Bad(RUN + f"--data {name}.npz", says)
        for name, says in {
            "no_test": r"data.x_test: got no such array .*; expected",
            "text": r"data.y_test: got class\(es\) \[0, 1, 2\]; expected classes that y_train has",
            "unknown": r"data: got 'x_vall' in .*; expected no arrays but x_train",
            "pickled": r"data.x_train: got .*are pickled; nothing is unpickled.*; expected numbers, and labels also st",
            "flat": r"space: got one_cell, a space of images, for examples of shape \(64,\); expected mlp",
            "float_labels": r"data.y_train: got dtype float64; expected integer labels",
            "negative": r"data.y_train: got labels from -1 to 1; expected labels from 0",
            "unseen": r"data.y_test: got class\(es\) \[3\]; expected classes that y_train has",
            "short": r"data.y_train: got 59 labels for 60 images; expected",
            "empty": r"data.x_train: got shape \(0, 8, 8, 1\); expected at least one image",
            "nan": r"data.x_train: got NaN .*; expected finite",
            "sizes": r"data.x_test: got images of shape \(9, 9, 1\); expected \(8, 8, 1\)",
            "single": r"data.y_train: got class 1 with one example; expected two",
            "small": r"data.x_train: got shape \(60, 7, 7, 1\); expected images of 8 x 8",
            "infinite": r"data.x_test: got NaN or infinite values; expected finite",
            "complex": r"data.x_train: got dtype complex128; expected",
            "cut": r"data: got .*cut.npz .*; expected an .npz file",
            "not_npz": r"data: got .*not_npz.npz .*; expected an .npz file",
            "missing": r"data: got .*missing.npz, which is not a file; expected",
        }.items()
    },
    "data-root": Bad(RUN + "--data cifar10 --root folder", r"data.root: got .*folder without it; expected"),
    # the user's own code
    "callable-module": Bad(RUN + "--data nowhere:load", r"data: got 'nowhere:load' .*; expected module:callable"),
    "callable-name": Bad(RUN + "--data user_module:nothing", r"data: got 'user_module:nothing'.*; expected"),
    "callable-number": Bad(RUN + "--data user_module:number", r"data: got 'user_module:number'.*; expected"),
    "callable-raises": Bad(RUN + "--data user_module:raises", r"data: got .*KeyError.*no such table.*; expected"),
    "callable-rubbish": Bad(RUN + "--data user_module:rubbish", r"data: got int from user_module:rubbish; expected"),
    "callable-undeclared": Bad(RUN + "--data os:abort", r"data: got 'os:abort', whose annotation .*; expected a func"),
    "callable-lacks": Bad(RUN + "--data user_module:lacks", r"data.y_train: got no such array .*; expected"),
    "callable-syntax": Bad(RUN + "--data broken_module:f", r"data: got 'broken_module:f' .*; expected"),
    "callable-import": Bad(RUN + "--data raising_module:f", r"data: got 'raising_module:f' .*; expected"),
    "space-module": Bad(RUN + "--space nowhere:Cell", r"space: got 'nowhere:Cell'; expected an importable module"),
    "space-class": Bad(RUN + "--space search_spaces:OneSell", r"space: got .*; expected .*nearest: OneCell"),
    "space-raises": Bad(RUN + "--space user_module:Fails", r"space: got user_module:Fails; expected .*KeyError"),
    "space-is-none": Bad(RUN + "--space user_module:NoSpace", r"space: got .*NoSpace, a type; expected an nni"),
    "space-function": Bad(RUN + "--space os:abort", r"space: got os:abort, a builtin.*; expected an nni"),
    "space-number": Bad(RUN + "--space user_module:number", r"space: got .*int.*; expected"),
    "space-syntax": Bad(RUN + "--space broken_module:Cell", r"space: got 'broken_module:Cell'; expected"),
    "space-import": Bad(RUN + "--space raising_module:Cell", r"space: got 'raising_module:Cell'; expected"),
    "space-does-not-fit": Bad(RUN + "--space ENAS", r"space.*; expected"),
    # files of a search
    "base-missing": Bad(RUN + "--base nowhere.json", r"base: got .*nowhere.json.*; expected"),
    "base-broken": Bad(RUN + "--base broken.json", r"base: got .*broken.json.*; expected"),
    "base-list": Bad(RUN + "--base list.json", r"base: got .*; expected"),
    "base-nothing": Bad(RUN + "--base nothing.json", r"base: label .*: got nothing; expected .*another space"),
    "base-text": Bad(RUN + "--base text.json", r"base: got str; expected an NNI sample"),
    "base-operation": Bad(RUN + "--base operation.json", r"base: label 'node_0/op_0': got .*nearest: skip_connect"),
    "base-other-space": Bad(RUN + "--base other.json", r"base: label: got 'normal/op_2_0'; .*another space"),
    "supernet-missing": Bad(RUN + "--supernet nowhere.safetensors", r"supernet: got .*; expected a safetensors file"),
    "supernet-broken": Bad(RUN + "--supernet a_file", r"supernet: got .*a_file.*; expected a safetensors file"),
    "supernet-other": Bad(RUN + "--supernet other.safetensors", r"supernet: got .*; expected .*the same space"),
    "known-missing": Bad(RUN + "--known-results nowhere.csv", r"known_results: got .*nowhere.csv; expected a readable"),
    "known-kind": Bad(RUN + "--known-results a_file", r"known_results: got .*a_file; expected a .csv or .json file"),
    "known-compare": Bad("compare --known-results x.csv", r"known_results: got 'x.csv'; expected .*nni-hypens run"),
    # folders
    "out-is-file": Bad("run --out a_file", r"out: got a_file, which is a file; expected a folder"),
    "out-below-file": Bad("run --out a_file/new", r"out: got a_file/new.*; expected a folder"),
    "out-other": Bad("run --out folder", r"out: got folder, which holds other files; expected"),
    "out-other-run": Bad("run --seed 5 --out {run}", r"out: got .* of another run \(.*\); expected the same settings"),
    "out-broken-config": Bad("run --out {broken}", r"config: got .*config.yaml; expected valid YAML"),
    "stage-broken-config": Bad("train --out {broken}", r"config: got .*config.yaml; expected valid YAML"),
    "resume-nothing": Bad("run --resume --out new", r"out: got new without config.yaml; expected a run folder"),
    "resume-nowhere": Bad("run --resume", r"resume: got no --out; expected --out DIR"),
    "resume-settings": Bad("run --resume --out {run} --seed 1", r"resume: got --resume with other settings \(seed\)"),
    "stage-nothing": Bad("train --out new", r"out: got new without config.yaml; expected a run folder"),
    "stage-no-out": Bad("select", r"out: got no run folder; expected .*nni-hypens select DIR"),
    "sample-early": Bad("sample --out {begun}", r"out: got .* without search/base.json; .*nni-hypens search"),
    "train-early": Bad("train --out {searched}", r"out: got .* without candidates.json; .*nni-hypens sample"),
    "select-early": Bad("select --out {sampled}", r"out: got .* still to be trained; .*nni-hypens train"),
    "evaluate-early": Bad("evaluate --out {sampled}", r"out: got .* without ensemble/ensemble.json; .*hypens select"),
    "report-early": Bad("report --out {sampled}", r"out: got .* without results.json; .*nni-hypens evaluate"),
    "base-cut": Bad("sample --out {base_cut}", r"base.json: got .*; expected"),
    "candidates-cut": Bad("train --out {candidates_cut}", r"candidates.json: got .*; expected"),
    "results-cut": Bad("run --resume --out {results_cut}", r"results.json: got .*; expected"),
    "report-results-cut": Bad("report --out {report_cut}", r"results.json: got .*; expected"),
    "weights-cut": Bad("evaluate --out {weights_cut}", r"member-.*safetensors: got .*; expected"),
    # export, predict, watch
    "export-missing": Bad("export nowhere", r"DIR: got nowhere without ensemble.json; expected"),
    "export-early": Bad("export {sampled}", r"DIR: got .* without ensemble.json; expected .*after select"),
    "export-format": Bad("export {run} --format tflite", r"format: got 'tflite'; expected one of onnx, pt2"),
    "export-suffix": Bad("export {run} --out model.bin", r"out: got model.bin; expected a file name that ends"),
    "export-below-file": Bad("export {run} --out a_file/m.onnx", r"out: got a_file/m.onnx.*; expected"),
    "export-space": Bad("export {run} --space user_module:NoSpace", r"space: got 'user_module:NoSpace'; expected"),
    "export-space-raises": Bad("export {run} --space raising_module:C", r"space: got 'raising_module:C'; expected"),
    "export-index-cut": Bad("export {index_cut}", r"ensemble.json: got .*; expected a readable JSON"),
    "predict-nothing": Bad("predict {run}", r"IMAGE"),
    "predict-missing": Bad("predict {run} nowhere.png", r"images: got nowhere.png, which is not there; expected"),
    "predict-text": Bad("predict {run} notes.txt", r"images: got notes.txt .*; expected PNG"),
    "predict-size": Bad("predict {run} large.png", r"images: got large.png of 9 x 9; expected 8 x 8"),
    "predict-array": Bad("predict {run} sizes.npz", r"images: got sizes.npz .*; expected"),
    "predict-pickle": Bad("predict {run} objects.npy", r"images: got objects.npy .*; expected an array of numbers"),
    "predict-model": Bad("predict model.pkl large.png", r"model: got model.pkl; expected"),
    "predict-onnx": Bad("predict broken.onnx large.png", r"model: got broken.onnx .*; expected a readable ONNX file"),
    "predict-pt2": Bad("predict broken.pt2 large.png --trust-pt2", r"model: got broken.pt2 .*; expected a PT2 file"),
    "watch-nothing": Bad("watch --directory watched", r"command: got \[\]; expected a program"),
    "watch-program": Bad("watch --directory watched -- nowhere", r"command: got 'nowhere'; expected a program"),
    "watch-port": Bad("watch --directory watched --port 80 -- true", r"port: got 80; expected"),
    "watch-taken": Bad("watch --directory watched --port {port} -- true", r"port: got {port}, which is in use"),
    "watch-directory": Bad("watch --directory a_file -- true", r"directory: got a_file.*; expected a folder"),
    "watch-port-text": Bad("watch --port web -- true", r"--port: .*web"),
}
PROCESSES = ("callable-raises", "predict-nothing")
"""Also through a real process, as the user starts it."""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The working folder with all the bad files in it, the run folders, and a port that is taken."""
    work, runs = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("runs")
    for name, content in DATA.items():
        np.savez(work / f"{name}.npz", **content)
    for name, text in TEXTS.items():
        (work / name).write_text(text)
    (work / "cut.npz").write_bytes((work / "nan.npz").read_bytes()[:300])
    (work / "bytes.yaml").write_bytes(b"data: \xff\xfe\n")
    (work / "folder").mkdir()
    (work / "folder" / "thesis.tex").write_text("years of work")
    (work / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    np.save(work / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(work / "large.png")
    save_file({"stem.0.weight": torch.zeros(3)}, work / "other.safetensors")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        yield {"work": str(work), "port": str(busy.getsockname()[1]), **run_folders(runs)}


def run_folders(runs: Path) -> dict[str, str]:
    """Run folders after some stages, and with files that were cut off."""
    made = {name: runs / name for name in ("run", "begun", "searched", "sampled", "broken")}
    stages = (["search", *SETTINGS], ["sample"], ["train"], ["select"], ["evaluate"], ["report"])
    for stage, *more in stages:
        ended = command(stage, *more, "--out", made["run"], "--quiet")
        assert ended.code == 0, ended.err
        after = {"search": "searched", "sample": "sampled"}.get(stage)
        if after:
            shutil.copytree(made["run"], made[after])
    for name in ("begun", "broken"):
        made[name].mkdir()
        (made[name] / ".lock").touch()
        shutil.copy(made["run"] / "config.yaml", made[name])
    (made["broken"] / "config.yaml").write_text("data: [digits")
    cuts = {
        "base_cut": ("searched", "search/base.json"),
        "candidates_cut": ("sampled", "candidates.json"),
        "results_cut": ("run", "results.json"),
        "report_cut": ("run", "results.json"),
        "weights_cut": ("run", "ensemble/member-*.safetensors"),
        "index_cut": ("run", "ensemble/ensemble.json"),
    }
    for name, (whole, pattern) in cuts.items():
        made[name] = runs / name
        shutil.copytree(made[whole], made[name])
        path = next(made[name].glob(pattern))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (made["report_cut"] / "report.html").unlink()
    for name in ("report.html", "results.json"):
        (made["weights_cut"] / name).unlink()
    return {name: str(path) for name, path in made.items()}


def check(ended: Ended, says: str) -> None:
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert ended.code == 2 and ended.out == "" and len(lines) == 1, ended
    assert "Traceback" not in ended.err and re.search(says, lines[0]), lines[0]


def fill(row: Bad, words: dict[str, str]) -> tuple[list[str], str]:
    filled = {**words, "on": ON.format(**words)}
    return row.arguments.format(**filled).split(), row.says.replace("{port}", words["port"])


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in BAD.items()])
def test_bad_input(row: Bad, words: dict[str, str]) -> None:
    arguments, says = fill(row, words)
    folders = [Path(words["work"]), Path(words["run"]).parent]
    before = listing(*folders)
    try:
        check(command(*arguments, folder=folders[0]), says)
        assert listing(*folders) == before
    finally:  # one that is taken for good does not spoil the rows behind it
        shutil.rmtree(folders[0] / "new", ignore_errors=True)


@pytest.mark.parametrize("name", PROCESSES)
def test_bad_input_of_a_process(name: str, words: dict[str, str]) -> None:
    arguments, says = fill(BAD[name], words)
    folders = [Path(words["work"]), Path(words["run"]).parent]
    before = listing(*folders)
    process = [sys.executable, "-m", "nni_hypens", *arguments]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(process, cwd=folders[0], env=environment, capture_output=True, text=True, timeout=PATIENCE)
    errors = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("loading "))
    check(Ended(done.returncode, done.stdout, errors), says)
    assert listing(*folders) == before


def test_the_table_covers_every_command() -> None:
    used = {row.arguments.split()[0] for row in BAD.values()}
    stages = {"search", "sample", "train", "select", "evaluate", "report"}
    assert {"run", "export", "predict", "watch", *stages} - used <= {"search"} and len(BAD) >= 45
