"""A user's table of known results of architectures, against which the supernet's ranking can be checked.

A table is a CSV or JSON file with a column ``architecture`` and one or more columns of numbers, such as ``accuracy``.
An architecture is an NNI sample as JSON; on NNI's NasBench201 space it may also be the string that NAS-Bench-201 uses,
or the mapping ``{"0_1": "conv_3x3", ...}`` of NNI's own benchmark database. Two notations of the same network, for
example two orders of a cell's slots, are one architecture (`EdgeStructure.key`).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from nni.nas.nn.pytorch import ModelSpace

from nni_hypens.errors import InputError
from nni_hypens.space.architecture import EdgeKey, EdgeStructure, Sample
from nni_hypens.space.nasbench201 import nasbench201_labels, nasbench201_sample, nasbench201_string
from nni_hypens.utils.checks import nearest
from nni_hypens.utils.files import open_file, parse_json, read_text

ARCHITECTURE = "architecture"
FIELD = "known_results"
FEWEST = 3
"""Fewest architectures for a rank correlation."""
MISSING = ("", "nan", "none", "null")
MAX_TABLE_BYTES = 2**28
Values = dict[str, float | None]


# ---- the table ----------------------------------------------------------------------------------------------------


class KnownResults:
    """Known results of architectures of one space.

    Args:
        space: The space, before a search turns it into a supernet, or its edges.
        rows: Mappings of ``architecture`` and numbers by name. The first row names them all; None is a missing value.

    Raises:
        InputError: Names the row (1 is the first after the header) and the field.

    Examples:
        >>> from search_spaces import OneCell
        >>> space = OneCell(channels=2, nodes=2, in_channels=1, operations=["skip_connect", "sep_conv_3x3"])
        >>> structure = EdgeStructure.from_space(space)
        >>> from nni_hypens.space import random_architectures
        >>> first, second = random_architectures(structure, 2, seed=0)
        >>> known = KnownResults(structure, [{"architecture": first, "accuracy": 0.9}])
        >>> known.lookup(first), known.lookup(second)
        ({'accuracy': 0.9}, None)
    """

    def __init__(self, space: ModelSpace | EdgeStructure, rows: Iterable[Mapping[str, Any]]) -> None:
        self.structure = space if isinstance(space, EdgeStructure) else EdgeStructure.from_space(space)
        self.metrics: list[str] = []
        self._values: dict[EdgeKey, Values] = {}
        places: dict[EdgeKey, int] = {}
        for place, row in enumerate(rows, 1):
            field = f"{FIELD}: row {place}"
            if not isinstance(row, Mapping):
                raise InputError(field, type(row).__name__, f"{ARCHITECTURE} and numbers by name")
            self._check_names(row, field, place)
            key = self.structure.key(self._sample(row[ARCHITECTURE], f"{field}: {ARCHITECTURE}"))
            values = {name: _number(row.get(name), f"{field}: {name}") for name in self.metrics}
            if self._values.setdefault(key, values) != values:
                got = f"the architecture of row {places[key]} with other values"
                raise InputError(f"{field}: {ARCHITECTURE}", got, "each architecture once")
            places.setdefault(key, place)
        if not self._values:
            raise InputError(FIELD, "no rows", "a row for each architecture")

    @classmethod
    def read(cls, path: str | Path, space: ModelSpace | EdgeStructure) -> KnownResults:
        """Read a table.

        Args:
            path: A ``.csv`` file with a header, or a ``.json`` file with a list of rows or a mapping from an
                architecture's string to its row.
            space: As for the class.

        Raises:
            InputError: The file cannot be read, or a row is wrong.
        """
        kind = Path(path).suffix.lower()
        if kind not in (".csv", ".json"):
            raise InputError(FIELD, str(path), "a .csv or .json file")
        try:
            rows = _csv_rows(Path(path)) if kind == ".csv" else _json_rows(Path(path))
        except OSError as error:
            raise InputError(FIELD, str(path), f"a readable file ({error.strerror})") from None
        except InputError:
            raise
        except (ValueError, RecursionError, csv.Error) as error:
            raise InputError(FIELD, str(path), f"valid {kind[1:].upper()} ({error})") from None
        return cls(space, rows)

    def __len__(self) -> int:
        return len(self._values)

    def lookup(self, architecture: Any) -> Values | None:
        """The known values of an architecture by name, or None if the table does not hold it.

        Args:
            architecture: An NNI sample, as ``strategy.sample`` returns it, or any form that a table may hold.

        Raises:
            InputError: Not an architecture of the space.
        """
        values = self._values.get(self.structure.key(self._sample(architecture, ARCHITECTURE)))
        return None if values is None else dict(values)

    def table(self, architectures: Iterable[Any]) -> pd.DataFrame:
        """A row for each architecture: its text and its known values, NaN if unknown.

        Args:
            architectures: The result of ``strategy.sample`` or ``strategy.pool``.
        """
        rows = []
        for item in architectures:
            sample = self._sample(getattr(item, ARCHITECTURE, item), ARCHITECTURE)
            text = self.structure.describe(sample)
            if nasbench201_labels(sample) is not None:
                text = nasbench201_string(sample)
            rows.append({ARCHITECTURE: text, **(self.lookup(sample) or {})})
        table = pd.DataFrame(rows, columns=[ARCHITECTURE, *self.metrics])
        return table.astype(dict.fromkeys(self.metrics, float))

    def _check_names(self, row: Mapping[str, Any], field: str, place: int) -> None:
        if ARCHITECTURE not in row:
            expected = f"a column named {ARCHITECTURE}{nearest(ARCHITECTURE, map(str, row))}"
            raise InputError(field, f"names {', '.join(map(str, row))}", expected)
        if place == 1:
            self.metrics = [str(name) for name in row if name != ARCHITECTURE]
            if not self.metrics:
                raise InputError(field, f"nothing but {ARCHITECTURE}", "at least one number, for example accuracy")
        for name in row:
            if name != ARCHITECTURE and name not in self.metrics:
                expected = f"{', '.join(self.metrics)}{nearest(str(name), self.metrics)}"
                raise InputError(f"{field}: {name}", "a name that row 1 lacks", expected)

    def _sample(self, value: Any, field: str) -> Sample:
        """An architecture in NNI's form, from any form that a table may hold."""
        table = self.structure.table
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = parse_json(value)
            except (ValueError, RecursionError) as error:
                raise InputError(field, repr(value), f"valid JSON ({error})") from None
        if isinstance(value, str):
            return nasbench201_sample(value, table, field)
        labels = nasbench201_labels(table.labels)
        if labels is not None and isinstance(value, Mapping) and set(value) == set(labels):
            value = {labels[edge]: operation for edge, operation in value.items()}
        return table.validate(value, field)


# ---- files --------------------------------------------------------------------------------------------------------


def _number(value: Any, field: str) -> float | None:
    """A finite number, or None for a missing value."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isfinite(number):
        return number
    if isinstance(value, float) and math.isnan(value):  # how pandas marks a missing value
        return None
    raise InputError(field, repr(value), "a finite number, or an empty cell")


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    with io.TextIOWrapper(
        open_file(path, links=True, at_most=MAX_TABLE_BYTES), encoding="utf-8-sig", newline=""
    ) as file:
        reader = csv.DictReader(file)
        head = [name.strip() for name in reader.fieldnames or ()]
        if len(set(head)) < len(head) or "" in head:
            raise InputError(f"{FIELD}: header", ", ".join(head), "different column names")
        reader.fieldnames = head
        rows: list[dict[str, Any]] = list(reader)
    for place, row in enumerate(rows, 1):
        if None in row or None in row.values():  # how csv marks too many and too few cells
            extra = row.pop(None, [])  # type: ignore[call-overload]
            cells = sum(value is not None for value in row.values()) + len(extra)
            quotes = 'put JSON in quotes, and write "" for each quote inside'
            raise InputError(f"{FIELD}: row {place}", f"{cells} cells", f"{len(head)}, as in the header ({quotes})")
    return rows


def _json_rows(path: Path) -> list[Any]:
    content = parse_json(read_text(path, MAX_TABLE_BYTES, links=True))
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise InputError(FIELD, type(content).__name__, "a list of rows, or a mapping from architecture to its row")
    for text, row in content.items():
        if not isinstance(row, dict):
            raise InputError(f"{FIELD}: {text}", type(row).__name__, "numbers by name, for example accuracy")
    return [{ARCHITECTURE: text, **row} for text, row in content.items()]
