"""Tables of known results: what is read, what is refused, what is found, and the ranking that is held against it."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nni.nas.hub.pytorch import NasBench201
from scipy.stats import spearmanr

from nni_hypens import EdgeStructure, InputError, KnownResults
from nni_hypens.space.draws import random_architectures
from nni_hypens.space.nasbench201 import nasbench201_string
from search_spaces import DartsSpace
from tests.support.commands import command
from tests.support.nasbench201 import SAMPLE, STRING

# ---- tables -------------------------------------------------------------------------------------------------------


def written(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_every_form_of_table_says_the_same(bench201: EdgeStructure, tmp_path: Path) -> None:
    samples = random_architectures(bench201, 40, 1)
    values = np.random.default_rng(0).uniform(0, 1, (40, 2)).round(6)
    texts = [nasbench201_string(sample) for sample in samples]
    edges = [{label.removeprefix("cell/"): name for label, name in sample.items()} for sample in samples]
    pairs = [{"accuracy": float(accuracy), "nll": float(nll)} for accuracy, nll in values]
    rows = [{"architecture": edge, **pair} for edge, pair in zip(edges, pairs, strict=True)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "by_text.json").write_text(json.dumps(dict(zip(texts, pairs, strict=True))))
    for name, column in (("texts", texts), ("json", [json.dumps(sample) for sample in samples])):
        cells = [[text, *pair.values()] for text, pair in zip(column, pairs, strict=True)]
        written(tmp_path / f"{name}.csv", [["architecture", "accuracy", "nll"], *cells])
    names = ("texts.csv", "json.csv", "rows.json", "by_text.json")
    tables = [*(KnownResults.read(tmp_path / name, bench201) for name in names), KnownResults(NasBench201(2, 1), rows)]
    unknown = [sample for sample in random_architectures(bench201, 80, 2) if sample not in samples]
    for table in tables:
        assert len(table) == 40 and table.metrics == ["accuracy", "nll"]
        for sample, text, pair in zip(samples, texts, pairs, strict=True):
            assert table.lookup(sample) == pair and table.lookup(text) == pair
        assert unknown and all(table.lookup(sample) is None for sample in unknown)


def test_samples_get_their_known_results(bench201: EdgeStructure) -> None:
    known = KnownResults(bench201, [{"architecture": STRING, "accuracy": 0.9, "nll": None}])
    other = random_architectures(bench201, 1, 0)[0]

    class Drawn:
        architecture = SAMPLE

    table = known.table([SAMPLE, other, Drawn()])
    assert list(table["architecture"]) == [STRING, nasbench201_string(other), STRING]
    assert table["accuracy"].fillna(-1).tolist() == [0.9, -1, 0.9] and table["nll"].isna().all()
    assert known.table([]).empty


def test_the_same_network_written_otherwise_is_found() -> None:
    """The two slots of a DARTS node may change places."""
    structure = EdgeStructure.from_space(DartsSpace(width=4, num_cells=3, in_channels=1))
    samples = random_architectures(structure, 20, 0)
    known = KnownResults(structure, [{"architecture": s, "accuracy": i} for i, s in enumerate(samples)])

    def swapped(sample: dict[str, Any]) -> dict[str, Any]:
        return {label: sample[re.sub(r"_([01])$", lambda m: f"_{1 - int(m[1])}", label)] for label in sample}

    assert any(swapped(sample) != sample for sample in samples)
    assert [known.lookup(swapped(sample)) for sample in samples] == [{"accuracy": float(i)} for i in range(20)]


def test_rows_that_say_the_same_twice_are_one(bench201: EdgeStructure) -> None:
    row = {"architecture": STRING, "accuracy": 0.9}
    assert len(KnownResults(bench201, [row, {**row, "architecture": SAMPLE}])) == 1
    with pytest.raises(
        InputError, match="^known_results: row 2: architecture: got the architecture of row 1 with other"
    ):
        KnownResults(bench201, [row, {**row, "accuracy": 0.8}])


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "^known_results: got no rows"),
        ([{"architecture": STRING}], "^known_results: row 1: got nothing but architecture"),
        ([{"arch": STRING, "accuracy": 1}], "^known_results: row 1: got names arch, accuracy; .*architecture"),
        ([{"architecture": STRING, "accuracy": "high"}], "^known_results: row 1: accuracy: got 'high'"),
        ([{"architecture": STRING, "accuracy": float("inf")}], "^known_results: row 1: accuracy: got inf"),
        ([{"architecture": STRING, "accuracy": True}], "^known_results: row 1: accuracy: got True"),
        ([{"architecture": STRING, "accuracy": 1}, 3], "^known_results: row 2: got int"),
        (
            [{"architecture": STRING, "accuracy": 1}, {"architecture": STRING, "acuracy": 1}],
            "^known_results: row 2: acuracy: .*nearest: accuracy",
        ),
        (
            [{"architecture": {**SAMPLE, "cell/0_1": "conv_3x4"}, "accuracy": 1}],
            "^known_results: row 1: architecture: label 'cell/0_1': got 'conv_3x4'; .*nearest: conv_3x3",
        ),
        (
            [{"architecture": {**SAMPLE, "cel/0_1": "none"}, "accuracy": 1}],
            "^known_results: row 1: architecture: label: got 'cel/0_1'; .*nearest: cell/0_1",
        ),
        ([{"architecture": '{"cell/0_1": ', "accuracy": 1}], "^known_results: row 1: architecture: .*valid JSON"),
        ([{"architecture": "nor_conv_3x3", "accuracy": 1}], "^known_results: row 1: architecture: .*3 nodes"),
        ([{"architecture": None, "accuracy": 1}], "^known_results: row 1: architecture: got NoneType"),
    ],
)
def test_what_is_wrong_is_named_by_row_and_field(rows: Any, message: str, bench201: EdgeStructure) -> None:
    with pytest.raises(InputError, match=message):
        KnownResults(bench201, rows)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("absent.csv", None, r"a readable file \(No such file"),
        ("table.txt", "x", r"a \.csv or \.json file"),
        ("empty.csv", "", "no rows"),
        ("head.csv", "architecture,accuracy,accuracy\n", "^known_results: header: "),
        ("bare.csv", f"architecture,accuracy\n{json.dumps(SAMPLE)},0.9\n", "row 1: got 7 cells; .*quotes"),
        ("short.csv", f"architecture,accuracy\n{STRING}\n", "^known_results: row 1: got 1 cells"),
        ("bytes.csv", b"architecture,accuracy\n\xff\xfe,1\n", "valid CSV"),
        ("compact.csv", 'architecture,accuracy\n{"a":"none","b":"none"},1\n', "row 1: got 3 cells; .*quotes"),
        ("open.csv", 'architecture,accuracy\n"abc,1\n', "^known_results: row 1: got 1 cells"),
        ("open.json", "[", "valid JSON"),
        ("number.json", "3", "^known_results: got int"),
        ("flat.json", json.dumps({STRING: 0.9}), r"^known_results: \|nor_conv_3x3~0.*: got float"),
    ],
)  # fmt: skip
def test_unreadable_files(name: str, content: Any, message: str, bench201: EdgeStructure, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        KnownResults.read(tmp_path / name, bench201)


def test_empty_cells_are_missing_and_a_table_of_pandas_is_read(bench201: EdgeStructure, tmp_path: Path) -> None:
    samples = random_architectures(bench201, 3, 0)
    frame = pd.DataFrame({
        "architecture": [nasbench201_string(sample) for sample in samples],
        "accuracy": [0.5, None, 0.25], "nll": [None, 1e-3, 2],
    })  # fmt: skip
    frame.to_csv(tmp_path / "a.csv", index=False, encoding="utf-8-sig")
    frame.to_json(tmp_path / "a.json", orient="records")
    expected = [{"accuracy": 0.5, "nll": None}, {"accuracy": None, "nll": 0.001}, {"accuracy": 0.25, "nll": 2.0}]
    for name in ("a.csv", "a.json"):
        known = KnownResults.read(tmp_path / name, bench201)
        assert [known.lookup(sample) for sample in samples] == expected
    assert len(KnownResults(bench201, frame.to_dict("records"))) == 3


# ---- a run --------------------------------------------------------------------------------------------------------


@pytest.mark.end_to_end
def test_a_run_on_nasbench201_looks_every_candidate_up(bench201: EdgeStructure, tmp_path: Path) -> None:
    """Drawn and decided on later; made-up accuracies are known of about three quarters of the space."""
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (300, 8, 8, 3), dtype=np.uint8), np.arange(300) % 3
    np.savez(
        tmp_path / "data.npz", x_train=images[:200], y_train=labels[:200], x_test=images[200:], y_test=labels[200:]
    )
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    rows: list[list[Any]] = [["architecture", "accuracy"]]
    for a, b, c, d, e, f in itertools.product(operations, repeat=6):
        text = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        if text.count("none") % 3 != 2:
            rows.append([text, round(0.1 * text.count("conv") + 0.03 * text.count("3x3"), 2)])
    written(tmp_path / "known.csv", rows)
    settings = (
        "run --data data.npz --space NasBench201 --space-args stem_out_channels=2 --space-args num_modules_per_stack=1 "
        "--search-epochs 4 --epochs 1 --validation-size 60 --candidates 9 --adaptive 2 --members 2 --stress-images 0 "
        "--ood none --known-results known.csv --out run --quiet"
    )
    ended = command(*settings.split(), folder=tmp_path)
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "run" / "candidates.json").read_text())
    assert len(found) == 9
    truth = dict(rows[1:])
    expected = [truth.get(nasbench201_string(record["architecture"])) for record in found]
    assert [record["known"] for record in found] == [None if v is None else {"accuracy": v} for v in expected]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    ranking = results["known_results"]
    begun = [value for value, record in zip(expected, found, strict=True) if "parent" not in record]
    assert ranking["found"] == sum(value is not None for value in begun) and ranking["candidates"] == len(begun)
    first = {record["text"]: i for i, record in reversed(list(enumerate(found)))}  # several networks of one count once
    places = [i for i in first.values() if expected[i] is not None]
    assert len(places) >= 3
    wanted = spearmanr([found[i]["supernet_nll"] for i in places], [expected[i] for i in places]).statistic
    assert ranking["metrics"]["accuracy"]["supernet_nll"]["spearman"] == pytest.approx(wanted)
    assert "<h2>Known results</h2>" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
