"""Writes the tables and sentences of the guide "Ablations" from the results of `ablations`.

    python -m tests.benchmarks.ablation_guide

This rewrites the text between `<!-- ablations: NAME -->` and `<!-- end -->` in the guide.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nni_hypens.utils.files import read_json, write_text
from tests.benchmarks.ablations import EARLIER, EPOCHS, NETWORKS, REFERENCE, RESULTS, VARIANTS
from tests.benchmarks.paper_figures import as_markdown
from tests.benchmarks.paper_guide import replaced

GUIDE = Path("docs/guides/ablations.md")
LEVEL = 0.05
WHAT = {name: what for name, (what, _) in VARIANTS.items()} | EARLIER
"""What the variants of the results on file are."""


def setup(results: dict[str, Any]) -> str:
    """Data, sizes and seeds."""
    settings = results["settings"]
    space = f"one cell, {settings['space_args']['channels']} channels"
    return (
        f"`{settings['data'].rpartition(':')[2]}`, {settings['train_size']:,} training, "
        f"{settings['validation_size']:,} validation and {settings['test_size']:,} test images; {space}; "
        f"{settings['search_epochs']} epochs of search; {NETWORKS} networks of {EPOCHS} epochs each, unless the table "
        f"says otherwise; {len(results['seeds'])} seeds, each with its own split."
    )


def table(results: dict[str, Any], members: int) -> str:
    """One row for each variant, the lowest NLL first."""
    rows = pd.DataFrame([row for row in results["summary"] if row["members"] == members]).sort_values("nll")
    reference = rows[rows["variant"] == REFERENCE].iloc[0]
    whole = reference["search_s"] + reference["training_s"]
    shown = pd.DataFrame(
        {
            "what": [WHAT[row.variant] for row in rows.itertuples()],
            "test NLL": [f"{row.nll:.4f} ± {row.nll_sd:.4f}" for row in rows.itertuples()],
            "against the reference": [difference(row._asdict()) for row in rows.itertuples()],
            "lower on": [
                "" if pd.isna(row.wins) else f"{row.wins:.0f} of {row.pairs:.0f}" for row in rows.itertuples()
            ],
            "accuracy %": [f"{100 * row.accuracy:.1f}" for row in rows.itertuples()],
            "NLL of a network": [f"{row.mean_network:.3f}" for row in rows.itertuples()],
            "cost": [f"{(row.search_s + row.training_s) / whole:.2f}" for row in rows.itertuples()],
        },
        index=pd.Index([f"`{row.variant}`" for row in rows.itertuples()], name="variant"),
    )
    return as_markdown(shown.reset_index()).strip()


def difference(row: dict[str, Any]) -> str:
    """``-5.1% [-7.0, -3.2]``, in bold if the p-value of the t-test is below `LEVEL`."""
    if pd.isna(row["difference"]):
        return "-"
    said = f"{100 * row['difference']:+.1f}% [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    return f"**{said}**" if row["p"] < LEVEL else said


def verdicts(results: dict[str, Any]) -> str:
    """Which variants differ from the reference for both sizes."""
    kinds: dict[str, list[str]] = {"lower": [], "higher": [], "open": []}
    for name in WHAT:
        rows = [row for row in results["summary"] if row["variant"] == name and name != REFERENCE]
        if rows:
            apart = all(row["p"] < LEVEL for row in rows)
            lower, higher = (apart and all(sign * row["difference"] > 0 for row in rows) for sign in (-1, 1))
            kinds["lower" if lower else "higher" if higher else "open"].append(f"`{name}`")
    heads = {
        "lower": "Lower NLL than the reference for both sizes, in bold",
        "higher": "Higher NLL for both sizes, in bold",
        "open": "Neither",
    }
    return "\n".join(f"- {heads[kind]}: {', '.join(names) or 'none'}." for kind, names in kinds.items())


def supernets(results: dict[str, Any]) -> str:
    """Rank correlation of each kind of supernet with training."""
    rows = pd.DataFrame(results["rows"]).dropna(subset=["supernet", "supernet_spearman"])
    each = rows.drop_duplicates(["seed", "supernet"]).groupby("supernet")
    shown = pd.DataFrame(
        {
            "Spearman, mean": each["supernet_spearman"].mean().map("{:+.2f}".format),
            "lowest, highest": [f"{one.min():+.2f}, {one.max():+.2f}" for _, one in each["supernet_spearman"]],
            "architectures": each["ranked_architectures"].mean().map("{:.0f}".format),
        }
    )
    names = {"edgenes": "EdgeNES", "argmax": "`argmax_base`", "js": "`jensen_shannon`", "no_base": "`no_base_steps`"}
    shown.index = pd.Index([names.get(str(name), f"`{name}`") for name in shown.index], name="supernet")
    return as_markdown(shown.reset_index()).strip()


def parts(results: dict[str, Any]) -> dict[str, str]:
    """Name of each generated part of the guide -> its text."""
    made = {"setup": setup(results), "verdicts": verdicts(results), "supernets": supernets(results)}
    return made | {f"table_{members}": table(results, members) for members in (3, 5)}


def written(results: dict[str, Any]) -> str:
    """The guide with its generated parts replaced."""
    return replaced(GUIDE.read_text(encoding="utf-8"), "ablations", parts(results))


if __name__ == "__main__":
    write_text(GUIDE, written(read_json(RESULTS)))
