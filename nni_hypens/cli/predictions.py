"""Predictions of many files: a bad one is named and left out, and the others are shown as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from nni_hypens.cli.output import show, show_json
from nni_hypens.cli.parser import EXIT_FAILED, EXIT_INPUT
from nni_hypens.ensemble.predict import BATCH, Predictor
from nni_hypens.ensemble.reading import kinds_of_files, read_inputs
from nni_hypens.errors import InputError, explain, one_line, printable, whole_traceback
from nni_hypens.report.text import plural
from nni_hypens.utils.inputs import is_image, noun, shape_text
from nni_hypens.utils.output import output_file
from nni_hypens.utils.pictures import PICTURE_SUFFIXES

Rows = list[dict[str, Any]]


class FilePredictions:
    """Predictions of files and of the pictures in folders.

    Args:
        model: The model.
        paths: Files and folders.
        resize: Whether to resize pictures of another size.
        coverage: Of prediction sets; None for none.
        theirs: As for `nni_hypens.utils.output.output_file`: the folder of the model.
    """

    def __init__(
        self,
        model: Predictor,
        paths: Sequence[Path],
        resize: bool,
        coverage: float | None,
        theirs: Path | None = None,
    ) -> None:
        self.model = model
        self.paths = paths
        self.resize = resize
        self.coverage = coverage
        self.theirs = theirs
        self.failed = 0

    def write(self, csv_file: str | None, as_json: bool) -> int:
        """Write or print all predictions.

        Args:
            csv_file: Path of a CSV file, "-" for standard output, None for a table or JSON.
            as_json: Whether to print JSON instead of a table.

        Returns:
            The exit code: 0, 1 if some files were left out, 2 if all were.
        """
        batches = self._batches()
        first = next(batches, None)
        if first is None:
            return self._end(0)
        found = Counted(chain([first], batches))
        if csv_file == "-":
            write_csv(sys.stdout, found, shown=sys.stdout.isatty())
        elif csv_file is not None:
            with output_file(Path(csv_file), self.theirs) as file:
                write_csv(file, found)
        elif as_json:
            show_json([row for batch in found for row in batch])
        else:
            show(table([row for batch in found for row in batch]))
        return self._end(found.rows)

    def _end(self, predicted: int) -> int:
        if self.failed and predicted + self.failed > 1:
            _warn(f"{self.failed} could not be predicted, {plural(predicted, noun(self.model.input_spec))} could")
        return 0 if not self.failed else EXIT_FAILED if predicted else EXIT_INPUT

    def _fail(self, path: Path | str, error: Exception) -> None:
        self.failed += 1
        line = explain(error)
        named = line if one_line(path) in line else f"{path}: {line}"
        print(whole_traceback(error), end="", file=sys.stderr)
        _warn(named)

    def _files(self) -> Iterator[Path]:
        for path in self.paths:
            if os.path.isdir(path) and is_image(self.model.input_spec):
                yield from self._pictures(path)
            elif os.path.isdir(path):
                spec = self.model.input_spec
                got = f"{path}, a folder, for a model of {shape_text(spec)}"
                self._fail(path, InputError("examples", got, kinds_of_files(spec)))
            else:
                yield path

    def _pictures(self, folder: Path) -> list[Path]:
        """The pictures in a folder and in folders in it, sorted. Hidden ones, and links to folders, are left out."""
        found, others = [], 0
        for place, folders, names in os.walk(folder, onerror=lambda error: self._fail(str(error.filename), error)):
            folders[:] = [name for name in folders if not name.startswith(".")]
            shown = [Path(place, name) for name in names if not name.startswith(".")]
            pictures = [path for path in shown if path.suffix.lower() in PICTURE_SUFFIXES]
            found += pictures
            others += len(shown) - len(pictures)
        if others:
            _warn(f"{folder}: {plural(others, 'file')} left out, as the name does not end like that of a picture")
        if not found:
            self._fail(folder, InputError("images", f"{folder} without pictures", "a folder with pictures, or files"))
        return sorted(found)

    def _batches(self) -> Iterator[Rows]:
        """Rows of about `BATCH` images at a time, so that a large folder does not fill the memory."""
        read: list[Read] = []
        spec = self.model.input_spec
        for path in self._files():
            try:
                names, images = read_inputs([path], spec, self.resize)
            except Exception as error:  # a decoder, or the disk, may raise anything
                self._fail(path, error)
                continue
            read.append(Read(path, names, images))
            if sum(len(one.names) for one in read) >= BATCH:
                yield from self._predict(read)
                read = []
        if read:
            yield from self._predict(read)

    def _predict(self, read: Sequence[Read]) -> Iterator[Rows]:
        """Predict files together; if that fails, one by one, so that only those at fault are left out."""
        try:
            names = [name for one in read for name in one.names]
            rows = self.model.rows(names, np.concatenate([one.images for one in read]), self.coverage)
        except InputError as error:
            if error.field == "model":  # the fault of no file
                raise
            if len(read) == 1:
                self._fail(read[0].path, error)
                return
        else:
            yield rows
            return
        for one in read:
            yield from self._predict([one])


class Read(NamedTuple):
    """Images of one file."""

    path: Path
    names: list[str]
    images: NDArray[np.float32]


class Counted:
    """Batches of rows, and how many rows have been taken.

    Args:
        batches: The batches.
    """

    def __init__(self, batches: Iterable[Rows]) -> None:
        self.batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[Rows]:
        for batch in self.batches:
            self.rows += len(batch)
            yield batch


def write_csv(file: TextIO, batches: Iterable[Rows], shown: bool = False) -> None:
    """Write rows of `Predictor.rows`: image, label, probability, entropy, `epistemic` and `set` if they are known, and
    the probability `p(LABEL)` of each class. `set` is a JSON list.

    Args:
        file: Where to write.
        batches: The rows, at least one.
        shown: Whether a terminal shows the file, so that names must not command it.
    """
    writer = csv.writer(file, lineterminator="\n")
    text = printable if shown else str
    header: list[str] = []
    for row in chain.from_iterable(batches):
        if not header:
            header = [*_columns(row), *(["set"] if "set" in row else [])]
            writer.writerow([*header, *(text(f"p({label})") for label in row["probabilities"])])
        cells = [json.dumps(row[name], ensure_ascii=False) if name == "set" else row[name] for name in header]
        writer.writerow(
            [*(text(cell) if isinstance(cell, str) else cell for cell in cells), *row["probabilities"].values()]
        )


def table(rows: Rows) -> str:
    """Rows of `Predictor.rows` for the terminal."""
    columns, sets = _columns(rows[0]), ["set"] if "set" in rows[0] else []
    lines = [columns + sets]
    for row in rows:
        numbers = [f"{row[name]:.4f}" for name in columns[2:]]
        held = [printable(", ".join(row["set"]))] if sets else []
        lines.append([printable(row["image"]), printable(row["label"]), *numbers, *held])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    pad = [str.ljust, str.ljust, *[str.rjust] * (len(columns) - 2), *[str.ljust] * len(sets)]
    return "\n".join("  ".join(pad[i](line[i], widths[i]) for i in range(len(line))).rstrip() for line in lines)


def _columns(row: dict[str, Any]) -> list[str]:
    known = row["epistemic"] is not None
    return ["image", "label", "probability", "entropy", *(["epistemic"] if known else [])]


def _warn(text: str) -> None:
    print(f"nni-hypens: {one_line(text)}", file=sys.stderr)
