"""The commands `nni-hypens export` and `nni-hypens predict`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nni_hypens.cli.loading import load_libraries
from nni_hypens.cli.output import show, show_json
from nni_hypens.errors import InputError
from nni_hypens.utils.files import check_place, read_object
from nni_hypens.utils.paths import find_user_modules
from nni_hypens.utils.run_files import MODEL_CARD, RunFiles

COMMANDS = ("export", "predict")
EXPORT_EXAMPLES = """examples:
  nni-hypens export runs/my                                runs/my/ensemble/model.onnx
  nni-hypens export runs/my --format pt2 --out digits.pt2
  nni-hypens export runs/my --uint8                        for pixels 0..255, whatever the training images had
  nni-hypens export runs/my --no-preprocess                for images that are already scaled and normalised
"""
PREDICT_EXAMPLES = """examples:
  nni-hypens predict runs/my a.png b.png                   a table
  nni-hypens predict runs/my/ensemble/model.onnx images.npz --json
  nni-hypens predict runs/my photo.jpg --resize            an image of another size
  nni-hypens predict runs/my photos --csv labels.csv       all pictures in a folder, and in folders in it
  nni-hypens predict runs/my a.png --coverage 0.9          the set of classes that it may have
  nni-hypens predict runs/my table.csv                     rows of numbers, for an ensemble of tables
"""


def add_commands(commands: Any) -> None:
    """Add both to the subparsers of the command line."""
    export_parser = commands.add_parser(
        "export",
        help="write the ensemble as one ONNX or PT2 file",
        description="Write an ensemble as one file that needs neither NNI nor nni_hypens. Input `images`, float32: raw "
        "values N x H x W x C in the range of the training images (0..255 of type uint8 with --uint8), or with "
        "--no-preprocess N x C x H x W, scaled and normalised. An ensemble of tables has the input `inputs`, rows of "
        "raw numbers, or with --no-preprocess normalised ones. Output `probabilities`.",
        examples=EXPORT_EXAMPLES,
    )
    export_parser.add_argument("folder", type=Path, metavar="DIR", help="run folder, or an ensemble's folder")
    export_parser.add_argument("--format", default="onnx", help="onnx, or pt2 for torch.export.load (default: onnx)")
    export_parser.add_argument(
        "--preprocess",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="scale and normalise inside the file (default: yes)",
    )
    export_parser.add_argument(
        "--uint8", action="store_true", help="the file takes uint8 images, 0..255, and brings them to the right range"
    )
    export_parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file (default: model.onnx or model.pt2 beside the members)"
    )
    predict_parser = commands.add_parser(
        "predict",
        help="predict images, or rows of a table, with an ensemble",
        description="Labels, probabilities and uncertainty in nats: entropy, and `epistemic`, what the members "
        "disagree about (mutual information), before any temperature. A PT2 file can run code when it is opened, so "
        "it needs --trust-pt2. A file that cannot be predicted is named, and the others are predicted; the exit code "
        "is then 1, or 2 if there are no others.",
        examples=PREDICT_EXAMPLES,
    )
    predict_parser.add_argument(
        "model", type=Path, metavar="MODEL", help="run folder, ensemble's folder, .onnx or .pt2"
    )
    predict_parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="image files, folders, .npy or .npz; for an ensemble of tables .csv, .npy or .npz",
    )
    predict_parser.add_argument(
        "--trust-pt2", action="store_true", help="open a PT2 file, though it can run code: you trust who wrote it"
    )
    predict_parser.add_argument("--resize", action="store_true", help="resize image files of another size")
    predict_parser.add_argument(
        "--coverage",
        type=float,
        metavar="C",
        help="show prediction sets; about this share of them holds the true class",
    )
    predict_parser.add_argument("--csv", metavar="FILE", help="write a table of comma-separated values; - to print it")
    export_parser.set_defaults(call=export)
    predict_parser.set_defaults(call=predict)
    for command in (export_parser, predict_parser):
        command.add_argument(
            "--space", metavar="MODULE:CLASS", help="your own model space, if the ensemble uses one: its code is run"
        )
        command.add_argument("--json", action="store_true", help="print JSON")


def load_space(name: str | None) -> Any:
    """The class that the user named, or None; only then are modules of the working folder found.

    Raises:
        InputError: No such class, or not a model space.
    """
    load_libraries(quiet=True)
    if name is None:
        return None
    from nni.nas.nn.pytorch import ModelSpace

    from nni_hypens.space.build import find_object

    find_user_modules()
    found = find_object("space", name, {})
    if not (isinstance(found, type) and issubclass(found, ModelSpace)):
        raise InputError("space", repr(name), "a subclass of nni.nas.nn.pytorch.ModelSpace")
    return found


def export(arguments: argparse.Namespace) -> None:
    """Write the file and say where it is.

    Raises:
        InputError: Bad input.
    """
    space = load_space(arguments.space)
    from nni_hypens.ensemble.export import check_onnx, export_ensemble
    from nni_hypens.ensemble.module import Ensemble
    from nni_hypens.ensemble.names import FORMATS
    from nni_hypens.ensemble.predict import ensemble_folder
    from nni_hypens.report.model_card import describes, write_model_card
    from nni_hypens.utils.inputs import is_image

    if arguments.format not in FORMATS:
        raise InputError("format", repr(arguments.format), f"one of {', '.join(FORMATS)}")
    if arguments.uint8 and not arguments.preprocess:
        raise InputError("uint8", "--uint8 with --no-preprocess", "one of the two")
    if arguments.format == "onnx":
        check_onnx()
    folder = ensemble_folder(arguments.folder, "DIR")
    path = arguments.out or folder / f"model.{arguments.format}"
    if path.suffix != f".{arguments.format}":
        raise InputError("out", str(path), f"a file name that ends in .{arguments.format}")
    if path.is_dir():
        raise InputError("out", f"{path}, which is a folder", "a file")
    check_place(path, "out", "a place in a folder")
    ensemble = Ensemble.load(folder, space=space)
    results = _results(folder)
    made = export_ensemble(ensemble, path, arguments.format, arguments.preprocess, arguments.uint8)
    results = results if results is not None and describes(results, made.metadata) else None
    card = write_model_card(path, made.metadata, results)
    size = path.stat().st_size
    if arguments.json:
        show_json(
            {
                "path": str(path),
                "bytes": size,
                "folded": made.folded,
                "difference": made.difference,
                "model_card": None if card is None else str(card),
            }
        )
        return
    checked = "not run, as onnxruntime is missing" if made.difference is None else f"{made.difference:.1e}"
    inputs = "" if is_image(ensemble.info.input_spec) else ", both with float32 inputs"
    made_of = f"{size / 2**20:.1f} MB, {made.folded} BatchNorms folded"
    show(f"{path}: {made_of}; difference from the ensemble{inputs}: {checked}")
    kept = f"{path.with_name(MODEL_CARD)}: kept, as `nni-hypens export` did not write it"
    show(kept if card is None else f"{card}: {'without' if results is None else 'with'} results on test data")


def _results(folder: Path) -> dict[str, Any] | None:
    """The content of ``results.json`` of the run that an ensemble's folder is in; None if it is not there."""
    path = RunFiles(folder.parent).results
    return read_object(path) if path.exists() else None


def predict(arguments: argparse.Namespace) -> int:
    """Print or write what the model predicts; returns the exit code.

    Raises:
        InputError: Bad input.
    """
    if arguments.csv is not None:
        if arguments.json:
            raise InputError("csv", f"{arguments.csv} together with --json", "one of the two")
        if arguments.csv != "-":
            check_place(Path(arguments.csv), "csv", "a place in a folder")
            if Path(arguments.csv).is_dir():
                raise InputError("csv", f"{arguments.csv}, which is a folder", "a file, or - to print")
    space = load_space(arguments.space)
    from nni_hypens.cli.predictions import FilePredictions
    from nni_hypens.ensemble.predict import open_model

    model = open_model(arguments.model, space, arguments.trust_pt2)
    if arguments.coverage is not None:
        model.check_coverage(arguments.coverage)
    theirs = Path(arguments.model) if Path(arguments.model).is_dir() else None
    found = FilePredictions(model, arguments.images, arguments.resize, arguments.coverage, theirs)
    return found.write(arguments.csv, arguments.json)
