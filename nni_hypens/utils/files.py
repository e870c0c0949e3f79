"""Files: atomic writes, and the one reader of everything that lies in a folder or that a user names.

A file is written under a temporary name, then renamed. What is read may come from anybody. So only regular files are
opened (a pipe would wait for ever), a link is followed only where the user named it, and no file can ask for more
memory than its kind needs.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml

from nni_hypens.errors import InputError, raised, reason

AS_WRITTEN = "the file as the run wrote it; if it is missing, a resumed run repeats the stage that writes it"
MAX_TEXT_BYTES = 32 * 2**20
"""Limit for JSON and CSV files of a run; the images in ``examples.json`` take the most."""
MAX_YAML_BYTES = 2**20
MAX_YAML_NODES = 100_000
"""Limit for the values in a YAML file, each alias counted as the whole that it stands for."""
MAX_DIGITS = 20
"""Digits of a whole number in JSON: those of 2^64."""
_SURROGATE, _NOT_ASCII = re.compile("[\ud800-\udfff]"), re.compile("[^\\x00-\\x7e]")


# ---- writing --------------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path. It is renamed to ``path`` when the block ends, and deleted after an error.

    The file has the permissions of the file that it replaces, or of any new file of this process.

    Raises:
        OSError: It cannot be written; it names ``path``, or a folder above it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        mode = (path if path.is_file() else temporary).stat().st_mode & 0o777
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:  # the system does not say which disk is full
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files of `replacing` that a killed process has left anywhere in a folder, which nobody uses."""
    for path in folder.rglob(".*.tmp"):
        if path.is_file() and not path.is_symlink():
            path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically. They are synced to the disk before the file is renamed."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def move_into_place(source: Path, target: Path) -> None:
    """Sync a finished file to the disk and rename it; both paths are on the same file system."""
    with open_file(source) as file:
        os.fsync(file.fileno())
    source.chmod(0o644)
    os.replace(source, target)


def write_text(path: Path, content: str) -> None:
    """Write text as UTF-8, atomically; a lone surrogate, from a file name that is not UTF-8, becomes its escape."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


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


def check_place(path: Path, field: str, expected: str) -> None:
    """Check that a file or folder can be created at ``path``: the nearest parent that exists must be a folder.

    Raises:
        InputError: This parent is a file.
    """
    nearest = next((parent for parent in path.parents if parent.exists()), None)
    if nearest is not None and not nearest.is_dir():
        raise InputError(field, f"{path}, where {nearest} is a file", expected)


# ---- the reader -----------------------------------------------------------------------------------------------------


def memory_bytes() -> int:
    """Memory of this machine: the limit for files of the user's, such as images to train on."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def open_file(path: str | os.PathLike[str], *, links: bool = False, at_most: int | None = None) -> BinaryIO:
    """Open a regular file to read bytes. Every file that this package reads is opened here.

    Args:
        path: The file.
        links: Whether it may be a link: True for paths that the user gives, False for files in a run folder.
        at_most: Largest size in bytes; None for the memory of this machine.

    Raises:
        OSError: It cannot be opened, is no regular file, or is too large; `strerror` says which.
    """
    try:
        _check_kind(os.stat(path, follow_symlinks=links), path, at_most)  # opening alone may act on a device
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
        handle = os.open(path, flags)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, reason(error), os.fspath(path)) from None
    try:
        _check_kind(os.fstat(handle), path, at_most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_kind(found: os.stat_result, path: str | os.PathLike[str], at_most: int | None) -> None:
    limit = memory_bytes() if at_most is None else at_most
    what = ""
    if stat.S_ISLNK(found.st_mode):
        what = "a link, which is not followed"
    elif stat.S_ISDIR(found.st_mode):
        what = "a folder, not a file"
    elif not stat.S_ISREG(found.st_mode):
        what = "a pipe, socket or device, not a file"
    elif found.st_size > limit:
        what = f"a file of {found.st_size / 2**20:.1f} MB, more than {limit / 2**20:.0f} MB"
    if what:
        raise OSError(errno.EINVAL, what, os.fspath(path))


def why(error: Exception) -> str:
    """The reason why a file cannot be read, without its name, which messages have already."""
    return error.strerror if isinstance(error, OSError) and error.strerror else reason(error)


def check_file(path: Path, links: bool = False) -> None:
    """Check what `open_file` checks, for libraries that open the file by its path.

    Raises:
        OSError: As for `open_file`.
    """
    open_file(path, links=links).close()


def read_bytes(path: str | os.PathLike[str], at_most: int = MAX_TEXT_BYTES, links: bool = False) -> bytes:
    """The content of a file of limited size; errors as for `open_file`."""
    with open_file(path, links=links, at_most=at_most) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def read_text(path: str | os.PathLike[str], at_most: int = MAX_TEXT_BYTES, links: bool = False) -> str:
    """The text of a UTF-8 file of limited size; errors as for `open_file`, and UnicodeDecodeError."""
    return read_bytes(path, at_most, links).decode("utf-8")


@contextmanager
def as_written(field: str, expected: str = AS_WRITTEN) -> Iterator[None]:
    """Name a file, in whose content a block of code meets a value of the wrong kind.

    Args:
        field: The file, or its part.
        expected: What it should hold.

    Raises:
        InputError: In place of what Python raises for such a value: no such key, no number, too deep, too large.
    """
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise InputError(field, f"a missing value, or one of the wrong kind ({raised(error)})", expected) from error


# ---- JSON and YAML --------------------------------------------------------------------------------------------------


def parse_json(text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Standard JSON, without the NaN, infinity and endless whole numbers that Python's parser accepts.

    Args:
        text: The JSON.
        pairs: Makes an object of its keys and values; None for dict.

    Raises:
        ValueError: It is not JSON, or holds such a number.
        RecursionError: It is too deep.
    """
    return json.loads(text, object_pairs_hook=pairs, parse_int=_whole, parse_float=_finite, parse_constant=_no_constant)


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"the whole number {digits[:MAX_DIGITS]}... is too long")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.20}, which is too large")
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name}, which is not JSON")


def read_json(path: Path, at_most: int = MAX_TEXT_BYTES) -> Any:
    """Read a JSON file of a run.

    Raises:
        InputError: The file is missing or is not JSON, because another program has changed it.
    """
    try:
        return parse_json(read_text(path, at_most))
    except FileNotFoundError:
        raise InputError(str(path), "no file", AS_WRITTEN) from None
    except OSError as error:
        raise InputError(str(path), error.strerror, AS_WRITTEN) from None
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), f"invalid JSON ({reason(error)})", AS_WRITTEN) from None


def read_object(path: Path) -> dict[str, Any]:
    """`read_json` of a file that holds one object.

    Raises:
        InputError: As for `read_json`, or it holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(str(path), f"a {type(content).__name__}", "a JSON object, as the run wrote it")
    return content


def parse_yaml(text: str) -> Any:
    """Plain YAML. Its size is checked before it is built: a few nested aliases can stand for billions of values.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: It is not YAML, or too large.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except (AttributeError, LookupError, TypeError) as error:  # the constructor's own, such as a list as a key
        raise ValueError(reason(error)) from None
    finally:
        loader.dispose()


def _count(node: Any, known: dict[int, int]) -> int:
    """Values in a YAML node, each alias counted in full."""
    if id(node) in known:
        found = known[id(node)]
        if not found:
            raise ValueError("an alias inside of what it stands for")
        return found
    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > 40:
            raise ValueError(f"the whole number {node.value:.20}... is too long")
        return 1
    known[id(node)] = 0  # begun
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    total = 1 + sum(_count(part, known) for part in parts)
    if total > MAX_YAML_NODES:
        raise ValueError(f"more than {MAX_YAML_NODES} values, each alias counted in full")
    known[id(node)] = total
    return total


def read_yaml(path: str | Path, links: bool = True) -> dict[str, Any]:
    """Read the mapping in a YAML file; empty for an empty file.

    Args:
        path: The file.
        links: As for `open_file`.

    Raises:
        InputError: The file is missing, too large, or not a mapping.
    """
    try:
        content = parse_yaml(read_text(path, MAX_YAML_BYTES, links))
    except OSError as error:
        raise InputError("config", str(path), f"a readable YAML file ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError("config", str(path), f"valid YAML ({reason(error)})") from None
    if content is not None and not isinstance(content, dict):
        raise InputError("config", f"{path} holding {type(content).__name__}", "a mapping from settings to values")
    return content or {}
