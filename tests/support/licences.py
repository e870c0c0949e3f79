"""Write docs/licences.md: the licence of everything that setup.cfg names, as the installed packages state it."""

from __future__ import annotations

import configparser
import importlib.metadata
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

nni_hypens is under the MIT licence and contains no third-party code. Its dependencies are separate packages.
This page lists the licences that their metadata state. `python -m tests.support.licences` writes it.
"""


def needed() -> dict[str, list[str]]:
    """Names of distributions in setup.cfg by the user's extra; ``""`` are those of every installation."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    groups = {"": config["options"]["install_requires"]}
    groups |= {name: config["options.extras_require"][name] for name in ("export", "enas", "packed") if name in
               config["options.extras_require"]}  # fmt: skip
    return {
        extra: [re.match(r"[\w.-]+", line).group() for line in text.split("\n") if line.strip()]
        for extra, text in groups.items()
    }


def licence(name: str) -> str:
    """The licence in a distribution's metadata, in its shortest form."""
    about = importlib.metadata.metadata(name)
    classifiers = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License")]
    stated = (about.get("License") or "").strip().splitlines() or [""]
    return about.get("License-Expression") or ", ".join(classifiers) or stated[0] or "not stated"


def page() -> str:
    """The page; it marks packages that are not installed."""
    lines = [HEAD]
    for extra, names in needed().items():
        lines += [f"## {f'With the extra `{extra}`' if extra else 'Always'}\n", "| package | licence |", "|---|---|"]
        for name in names:
            try:
                lines.append(f"| {name} | {licence(name)} |")
            except importlib.metadata.PackageNotFoundError:
                lines.append(f"| {name} | not installed when this page was written |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
