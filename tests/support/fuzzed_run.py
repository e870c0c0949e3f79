"""Damage to run folders: a small but whole run folder, seeded mutations of it, and how commands take them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from matplotlib.figure import Figure

from nni_hypens.cli import main as cli
from nni_hypens.run.candidate import Candidate
from nni_hypens.run.folder import RunFolder
from nni_hypens.run.plan import make_plan
from nni_hypens.run.settings import Settings
from nni_hypens.space.architecture import EdgeStructure
from nni_hypens.utils.files import write_json
from nni_hypens.utils.tensors import write_tensors
from tests.support.deployed import random_ensemble
from tests.support.report_fixture import make_run_folder

LENGTH = "NNI_HYPENS_MUTATIONS"
"""Environment variable with the number of mutations of each fuzzer, for a long run."""
SECONDS = 20
"""A command that takes longer hangs."""
WRONG_VALUES: tuple[Any, ...] = (
    {}, [], None, True, "", "x", "a\nb", "../../canary", "\ud800", "\x1b[31mred", 0, -1, 1.5, 10**18, 10**400,
    float("nan"), float("inf"), [[]], [None], [{}], {"": []}, {"id": None}, [1, "x"], "9" * 5000,
)  # fmt: skip


def make_whole_run(out: Path) -> Path:
    """A finished run on digits with random networks, of which every file is there."""
    make_run_folder(out, n_candidates=3, n_pool=3, n_members=2)
    folder, space = RunFolder(out), {"channels": 2}
    settings = Settings(
        space_args=space, members=2, candidates=2, adaptive=0, train_size=100, validation_size=100, test_size=40,
        stress_images=0, ood="none",
    )  # fmt: skip
    plan = make_plan(settings)
    content = {**plan.identity, **plan.fingerprint, "versions": {"torch": "2"}, "command": "nni-hypens run"}
    folder.config.write_text(yaml.safe_dump(content, sort_keys=False))
    structure = EdgeStructure.from_space(plan.space)
    ensemble = random_ensemble("one_cell", 2, **space)
    ensemble.save(folder.ensemble)
    rng, ids = np.random.default_rng(0), ensemble.info.ids
    candidates = []
    for index, (name, network) in enumerate(zip(ids, ensemble.members, strict=True)):
        sample = ensemble.info.architectures[index]
        edges, text = tuple(structure.edges(sample)), structure.describe(sample)
        candidates.append(Candidate(name, 1.0 * index, index, "draw", 0.5, sample, edges, text))
        files = folder.candidate(name)
        metrics = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1, "brier": 0.5, "aurc": 0.2}
        record = {"id": name, "status": "trained", "default": 0.5, "validation": metrics, "seconds": 1.0, "seed": 1,
                  "history": [{"epoch": 0, "accuracy": 0.5}],
                  "parameters": 99, "flops": 99, "latency_ms": 1.0}  # fmt: skip
        write_json(files.metrics, record)
        parts = {part: rng.dirichlet(np.ones(10), n).astype(np.float32) for part, n in (("val", 100), ("test", 40))}
        np.savez(files.predictions, **parts)
        write_tensors(files.weights, {key: value.contiguous() for key, value in network.state_dict().items()})
        write_json(files.architecture, sample)
    folder.write_candidates(candidates)
    shutil.rmtree(folder.candidates_folder / "c000", ignore_errors=True)
    for index in range(3):
        shutil.rmtree(folder.candidates_folder / f"c{index:03d}", ignore_errors=True)
    results = json.loads(folder.results.read_text().replace('"c000"', '"c00"').replace('"c001"', '"c01"'))
    results["candidates"] = [row for row in results["candidates"] if row["id"] in ids]
    results["members"] = [row for row in results["members"] if row["id"] in ids]
    for row in results["candidates"]:
        row.setdefault("status", "trained")
    write_json(folder.results, results)
    write_json(
        folder.selection,
        {"method": "exhaustive", "objective": "nll", "score": 1.0, "validation_nll": 1.0, "members": ids,
         "weights": [0.5, 0.5], "limits": {}, "costs": {}, "seconds": 0.1,
         "sizes": [{"method": "all", "members": ids, "weights": [0.5, 0.5], "temperature": 1.0, "costs": {},
                    "member_temperatures": [1.0, 1.0]}]},
    )  # fmt: skip
    write_json(folder.search.base, ensemble.info.architectures[0])
    write_json(
        folder.search.summary,
        {"n_edges": structure.n_edges, "base_edges": [list(edge) for edge in candidates[0].edges],
         "base_search_s": 1.0, "search_s": 1.0, "base_ranking": None, "dial": [[0.0, 0], [1.0, 1]]},
    )  # fmt: skip
    write_json(folder.search.ranking, {"architectures": 4, "seconds": 1.0})
    write_json(folder.training_time, {"seconds": 2.0})
    write_tensors(folder.search.supernet, {"w": torch.zeros(2)})
    folder.report.write_text("<html>")
    np.save(out.parent / "image.npy", np.zeros((8, 8)))
    return out


# ---- mutations ------------------------------------------------------------------------------------------------------


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(item, (*path, key))


def mutate_value(content: Any, choose: random.Random) -> tuple[Any, str]:
    """Content with one value replaced, removed or repeated, and what was done."""
    # first a depth, then a place, so that long lists of numbers do not take all the mutations
    places = list(_places(content))
    depth = choose.choice(sorted({len(path) for path in places}))
    path = choose.choice([path for path in places if len(path) == depth])
    wrong = choose.choice(WRONG_VALUES)
    if not path:
        return wrong, f"all = {wrong!r:.40}"
    owner = content
    for key in path[:-1]:
        owner = owner[key]
    kind = choose.random()
    where = ".".join(map(str, path))
    if kind < 0.15:
        del owner[path[-1]]
        return content, f"no {where}"
    if kind < 0.2 and isinstance(owner, list):
        owner.append(owner[path[-1]])
        return content, f"{where} twice"
    owner[path[-1]] = wrong
    return content, f"{where} = {wrong!r:.40}"


def mutate_file(path: Path, canary: Path, choose: random.Random) -> str:
    """Put something else in place of a file, and say what."""
    content = path.read_bytes()
    kind = choose.choice(["cut", "junk", "empty", "gone", "fifo", "link", "device", "folder", "deep", "parent"])
    if kind == "parent" and path.parent.name in ("candidates", "ensemble", "search"):
        moved = canary / path.parent.name
        shutil.move(path.parent, moved)
        path.parent.symlink_to(moved)
        return "its folder is a link"
    path.unlink()
    if kind == "cut":
        path.write_bytes(content[: choose.randrange(len(content) or 1)])
    elif kind == "junk":
        path.write_bytes(choose.randbytes(200))
    elif kind == "empty":
        path.touch()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        (canary / path.name).write_bytes(content)
        path.symlink_to(canary / path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "deep":
        path.write_text("[" * 100_000)
    return kind


def mutate(out: Path, canary: Path, choose: random.Random, names: Sequence[str] | None = None) -> str:
    """Change one value or one file of a run folder, and say what."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and not path.is_symlink()]
    files = [path for path in files if names is None or path.name in names]
    path = choose.choice(files)
    name = path.relative_to(out)
    if path.suffix == ".json" and choose.random() < 0.85:
        content, what = mutate_value(json.loads(path.read_text()), choose)
        path.write_text(json.dumps(content))
    elif path.suffix == ".yaml" and choose.random() < 0.85:
        content, what = mutate_value(yaml.safe_load(path.read_text()), choose)
        path.write_text(yaml.dump(content, allow_unicode=False))
    else:
        what = mutate_file(path, canary, choose)
    return f"{name}: {what}"


# ---- outcomes -------------------------------------------------------------------------------------------------------


class Hangs(BaseException):
    """A command that did not end in time."""


def _too_long(*_: Any) -> None:
    raise Hangs


@contextlib.contextmanager
def time_limit(seconds: int = SECONDS) -> Iterator[None]:
    """Raise `Hangs` in a block that takes longer."""
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
    for stream in (out, err):
        stream.seek(0)
    return code, out.read(), err.read()


def fault(*arguments: str | Path) -> str | None:
    """What is wrong with how a command ends; None if it ends with 0, or with 2 and one line."""
    try:
        with time_limit():
            code, _, said = outcome(*arguments)
    except (Exception, Hangs) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error!s:.200} in {frame.filename}:{frame.lineno}"
    if "Traceback" in said:
        return f"a traceback: {said[-300:]}"
    if code not in (0, 2):
        return f"exit code {code}: {said[-300:]}"
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("warning: ")]
    if code == 2 and len(lines) != 1:
        return f"{len(lines)} lines: {lines}"
    return None


def everything(folder: Path) -> dict[str, Any]:
    """Content of each file below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_drawing(patch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which takes a second for a report, unless the run is long."""
    if LENGTH not in os.environ:
        patch.setattr(Figure, "savefig", lambda self, file, **options: file.write("<svg></svg>"))


def length(short: int) -> int:
    """Number of mutations: `short`, or as the environment says."""
    return int(os.environ.get(LENGTH, short))


def check(faults: dict[str, str], tried: int) -> None:
    """Fail with all that was found."""
    if faults:
        pytest.fail(
            f"{len(faults)} of {tried} mutations: " + "\n".join(f"{key} -> {value}" for key, value in faults.items())
        )
