"""Every file that the package reads is opened by the one reader in `nni_hypens.utils.files`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nni_hypens

ROOT = Path(nni_hypens.__file__).parent
METHODS = {"open", "read_text", "read_bytes"}
"""Ways to read a file that all paths and modules such as `gzip` have."""
READERS = {
    "safe_load", "full_load", "load_file", "safe_open", "read_csv", "loadtxt", "genfromtxt", "fromfile", "memmap",
    "ZipFile", "InferenceSession", "TextIOWrapper", "FileIO", "imread",
}  # fmt: skip
"""Ways of libraries to read a file."""
CHECKED = {
    "data/arrays.py": {"gzip.open"},
    "data/corruptions.py": {"Image.open"},  # of bytes in memory
    "data/sources.py": {"np.load"},
    "compare/page.py": {"pd.read_csv"},
    "ensemble/predict.py": {"torch.export.load", "onnxruntime.InferenceSession"},
    "ensemble/export.py": {"torch.export.load", "onnxruntime.InferenceSession"},  # of the file that it has just written
    "ensemble/reading.py": {"io.TextIOWrapper"},
    "run/search_stage.py": {"torch.load"},
    "space/known_results.py": {"io.TextIOWrapper"},
    "trials/received.py": {"zipfile.ZipFile", "archive.open"},
    "utils/files.py": {"os.open"},
    "utils/npz.py": {"np.load", "zipfile.ZipFile", "archive.open", "archive.zip.open"},
    "utils/pictures.py": {"Image.open"},
    "utils/processes.py": {"Path(f'/proc/{pid}/stat').read_text"},  # of the system
    "utils/runtime.py": {"table.read_text"},  # of the system
    "utils/tensors.py": {"safe_open", "load_file"},
}
"""Modules that hand an open file to a library, or a path after `check_file`."""
LIBRARIES = {"json", "np", "numpy", "pickle", "torch", "torch.export", "yaml"}
"""Modules whose `load` reads a file; another `load` is a method of this package."""


def calls(source: str) -> Iterator[str]:
    """What a module calls to read files, as `module.function`; opening for writing does not count."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        owner, _, short = name.rpartition(".")
        given = [*node.args, *(one.value for one in node.keywords)]
        modes = [value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        if short == "open" and any(set(mode) & set("wax") for mode in modes):
            continue
        reads = short in READERS or (owner and short in METHODS) or name == "open"
        if reads or (short == "load" and owner in LIBRARIES):
            yield name


def test_no_module_reads_around_the_reader() -> None:
    found = {
        str(path.relative_to(ROOT)): sorted(set(calls(path.read_text(encoding="utf-8")))) for path in ROOT.rglob("*.py")
    }
    around = {name: [call for call in called if call not in CHECKED.get(name, ())] for name, called in found.items()}
    assert not {name: called for name, called in around.items() if called}
    left_over = {name: allowed - set(found[name]) for name, allowed in CHECKED.items()}
    assert not {name: calls for name, calls in left_over.items() if calls}


def test_the_search_finds_each_way_to_read() -> None:
    ways = ("open(p)", "p.open()", "p.open('rb')", "p.read_text()", "np.load(p)", "yaml.safe_load(f)", "json.load(f)")
    for way in ways:
        assert list(calls(f"x = {way}")), way
    for other in ("p.open('wb')", "open(p, mode='a')", "open_file(p)", "read_text(p)", "nni.load(t)", "json.loads(t)"):
        assert not list(calls(f"x = {other}")), other
