"""Atomic writes, and reads that report bad files. A file is written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nni_hypens.errors import InputError, reason

if TYPE_CHECKING:
    import numpy as np

AS_WRITTEN = "the file as the run wrote it; if it is missing, a resumed run repeats the stage that writes it"
_SURROGATE, _NOT_ASCII = re.compile("[\ud800-\udfff]"), re.compile("[^\\x00-\\x7e]")

LEAST_BYTES = 2**16
"""A disk with less free space counts as full."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path. It is renamed to ``path`` when the block ends, and deleted after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically. They are synced to the disk before the file is renamed."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def move_into_place(source: Path, target: Path) -> None:
    """Sync a finished file to the disk and rename it; both paths are on the same file system."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.chmod(0o644)
    os.replace(source, target)


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, atomically."""
    write_bytes(path, content.encode("utf-8"))


def json_text(content: Any, indent: int | None = None) -> str:
    r"""Standard JSON in ASCII, the only form in which this package writes JSON.

    JSON has no number for NaN and infinity, and strict readers refuse a lone surrogate (from a file name that is not
    UTF-8). So the former raise ValueError, and the latter becomes its escape as text.

    Examples:
        >>> print(json_text({"name": "h\u00e9", "file": "\udcff"}))
        {"name": "h\u00e9", "file": "\\udcff"}
    """
    text = json.dumps(content, indent=indent, allow_nan=False, ensure_ascii=False)
    text = _SURROGATE.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def write_json(path: Path, content: Any) -> None:
    """Write standard JSON, atomically; NaN and infinity raise ValueError."""
    write_text(path, json_text(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: The file is missing or is not JSON, because another program has changed it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(str(path), "no file", AS_WRITTEN) from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"invalid JSON ({reason(error)})", AS_WRITTEN) from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` of plain arrays, atomically."""
    import numpy as np  # imported here, so that the command line can read settings without numpy

    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(buffer, **named)
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    """Read some arrays of an ``.npz``; nothing is unpickled, and arrays not named are not read.

    Raises:
        InputError: The file is missing, truncated, or lacks one of the arrays.
    """
    import numpy as np

    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return [content[name] for name in names]
    except FileNotFoundError:
        raise InputError(str(path), "no file", AS_WRITTEN) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, TypeError) as error:
        raise InputError(str(path), f"no readable arrays ({reason(error)})", AS_WRITTEN) from None


def check_place(path: Path, field: str, expected: str) -> None:
    """Check that a file or folder can be created at ``path``: the nearest parent that exists must be a folder.

    Raises:
        InputError: This parent is a file.
    """
    nearest = next((parent for parent in path.parents if parent.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise InputError(field, f"{path}, where {nearest} is a file", expected)


def check_writable(folder: Path) -> None:
    """Check that files can still be written in a folder, as far as can be told without writing one.

    Raises:
        OSError: The folder is gone, is read-only, or its disk is full; it names the folder.
    """
    fault = None
    if not folder.is_dir():
        fault = errno.ENOENT
    elif not os.access(folder, os.W_OK | os.X_OK):
        fault = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    else:
        disk = os.statvfs(folder)
        blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail
        if disk.f_blocks and blocks * disk.f_frsize < LEAST_BYTES:
            fault = errno.ENOSPC
    if fault is not None:
        raise OSError(fault, os.strerror(fault), str(folder))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file; empty for an empty file.

    Raises:
        InputError: The file is missing, or is not a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("config", str(path), f"a readable YAML file ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError("config", str(path), f"valid YAML ({reason(error)})") from None
    if content is not None and not isinstance(content, dict):
        raise InputError("config", f"{path} holding {type(content).__name__}", "a mapping from settings to values")
    return content or {}
