"""Writes the tables, sentences and figures of the guide "The paper's tables" from the results of `paper_tables`, and of
the further experiments (`paper_runs`).

    python -m tests.benchmarks.paper_guide tests/benchmarks/results/paper.json docs/guides/paper.md

This rewrites the text between `<!-- paper: NAME -->` and `<!-- end -->` in the guide and redraws the figures. Every
sentence that contains a number is generated here. `--quick` only checks that the guide matches the results.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from nni_hypens.utils.files import read_json, write_text
from tests.benchmarks import paper_more, paper_published as published
from tests.benchmarks.paper_claims import expected_edges, say_areas, say_versions
from tests.benchmarks.paper_figures import (
    TITLES,
    Results,
    draw_figures,
    frame,
    interval,
    labels,
    markdown_tables,
    verdict,
)


def pattern(tag: str) -> re.Pattern[str]:
    """Matches the generated parts of a text, from `<!-- TAG: NAME -->` to `<!-- end -->`."""
    return re.compile(rf"<!-- {tag}: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def replaced(text: str, tag: str, made: dict[str, str]) -> str:
    """The text with the parts of a tag replaced by those in `made`; a missing name is a KeyError."""
    return pattern(tag).sub(lambda found: f"<!-- {tag}: {found[1]} -->\n\n{made[found[1]]}\n\n<!-- end -->", text)


PART = pattern("paper")


def number(text: str) -> tuple[float, float]:
    """Mean and standard deviation of ``48.1 ± 1.7``."""
    mean, _, sd = text.partition(" ± ")
    return float(mean), float(sd)


def by_seed(rows: pd.DataFrame, column: str = "accuracy") -> pd.Series:
    """Mean per seed."""
    return rows.groupby("seed")[column].mean()


def say_setup(results: Results) -> str:
    """How far the results can be trusted."""
    count = len(results["seeds"])
    if count > 1:
        return f"{count} seeds on few images: the intervals below are wide, and differences may be chance."
    return (
        "**One seed so far**: this shows what the script produces and says nothing about the methods. The same command "
        "with `--seeds 0,1,2` adds two seeds and intervals."
    )


def say_methods(results: Results) -> str:
    """EdgeNES against each method, and the cost of its search."""
    rows = frame(results, "methods").set_index("seed")
    own = {name: rows[rows["method"] == name] for name in TITLES}
    ours = own["edgenes"]["accuracy"]
    paper = {name: number(text)[0] for name, text in published.MAIN_TABLE[published.PAPER].items()}
    lines = [
        f"- EdgeNES against {TITLES[name]}: {verdict(ours, own[name]['accuracy'])}"
        + (f" (paper: {paper['edgenes'] - paper[name]:+.1f})." if name in paper else " (not in the paper).")
        for name in ("darts_ensemble", "darts", "random_pool", "random_deviations", "base_ensemble")
    ]
    told = [interval(ours, own[name]["accuracy"]) for name in TITLES if name != "edgenes"]
    apart = sum(low > 0 or high < 0 for _, low, high in told)
    cost = own["edgenes"]["search_s"].mean() / own["darts_ensemble"]["search_s"].mean()
    theirs = published.SEARCH_HOURS["edgenes"] / published.SEARCH_HOURS["darts_ensemble"]
    lines.append(f"- The search of EdgeNES costs {cost:.2f} times that of DartsEns (paper: {theirs:.2f}).")
    if len(ours) > 1:
        have = "has an interval" if apart == 1 else "have intervals"
        lines.append(f"- Of the {len(told)} differences in the table, {apart} {have} without 0.")
    return "\n".join(lines)


def say_shared(results: Results) -> str:
    """Whether architectures of the hypernetwork are better, and vary less, than random deviations."""
    rows = frame(results, "networks")
    groups = {source: rows[rows["source"] == source] for source in ("hypernetwork", "random")}
    sds = {source: own.groupby("shared")["accuracy"].std().mean() for source, own in groups.items()}
    known = {source: [number(text) for text in texts] for source, texts in published.SHARED.items()}
    means = {source: sum(mean for mean, _ in pairs) / len(pairs) for source, pairs in known.items()}
    theirs = {source: sum(sd for _, sd in pairs) / len(pairs) for source, pairs in known.items()}
    return (
        "- Hypernetwork against random deviation, all rows, paired by seed: "
        f"{verdict(by_seed(groups['hypernetwork']), by_seed(groups['random']))} "
        f"(paper: {means['hypernetwork'] - means['random']:+.1f}).\n"
        f"- Mean standard deviation within a row: hypernetwork {sds['hypernetwork']:.1f}, random deviation "
        f"{sds['random']:.1f} (paper: {theirs['hypernetwork']:.1f} and {theirs['random']:.1f})."
    )


def say_warmup(results: Results) -> str:
    """Whether warm-up helps."""
    rows = frame(results, "networks")
    off = rows[rows["source"] == "no_warmup"]
    on = rows[(rows["source"] == "hypernetwork") & rows["shared"].isin(off["shared"])]
    return f"With warm-up against without, all rows, paired by seed: {verdict(by_seed(on), by_seed(off))}."


def say_annealing(results: Results) -> str:
    """What the paper's table says, and what came out here, if it was run."""
    gains = [number(both)[0] - number(neither)[0] for both, neither in published.ANNEALED.values()]
    said = f"In the paper, annealing both adds {min(gains):.1f} to {max(gains):.1f} points."
    if not results["rows"].get("annealing"):
        return said
    rows = frame(results, "annealing")
    own = {variant: by_seed(found) for variant, found in rows.groupby("variant")}
    told = "; ".join(
        f"{title} {verdict(own[variant], own['constant'])}"
        for variant, title in (
            ("both", "both"),
            ("weight", "the weight alone"),
            ("temperature", "the temperature alone"),
        )
    )
    return f"{said} Here, against constants, all rows, paired by seed: {told}."


def say_edges(_: Results) -> str:
    """What the paper concludes from its statement, and what is left of it if each edge counts once."""
    found = expected_edges(4, 3)
    return (
        "The paper divides by the 4 edges that a step of DARTS trains, and concludes that its search should be faster. "
        f"The ratio is {found['statement'] / 4:.2f} by the formula, {found['search_lam'] / 4:.2f} with `lam` as the "
        f"search draws it, and {found['once'] / 4:.2f} if an edge of several members counts once."
    )


def say_lengths(results: Results) -> str:
    """Whether a longer search gives a better ensemble."""
    rows = frame(results, "lengths")
    first, last = rows["epochs"].min(), rows["epochs"].max()
    ends = [by_seed(rows[rows["epochs"] == epochs]) for epochs in (last, first)]
    return f"{last} epochs against {first}, paired by seed: {verdict(*ends)}."


def say_limits(results: Results) -> str:
    """Whether some diversity is better than none."""
    rows = frame(results, "limits")
    top = rows["limit"].max()
    best = rows[rows["limit"] < top].groupby("limit")["mean_accuracy"].mean().idxmax()
    pair = [by_seed(rows[rows["limit"] == limit], "mean_accuracy") for limit in (best, top)]
    return (
        f"By the last column, the best limit below {top} is {best}. Against seeds of the base, paired by seed: "
        f"{verdict(*pair)}. It was chosen among {top} limits on the same test data, so its result is too optimistic."
    )


def say_command(results: Results) -> str:
    """The command that made the results."""
    return f"```bash\n{results['command']}\n```"


SENTENCES: dict[str, Callable[[Results], str]] = {
    "command": say_command,
    "say_setup": say_setup,
    "say_methods": say_methods,
    "say_versions": lambda _: say_versions(TITLES),
    "say_edges": say_edges,
    "say_shared": say_shared,
    "say_warmup": say_warmup,
    "say_annealing": say_annealing,
    "say_areas": lambda _: say_areas(),
    "say_lengths": say_lengths,
    "say_limits": say_limits,
}


def parts(results: Results) -> dict[str, str]:
    """Name of each generated part of the guide -> its text."""
    found = {name: text.strip() for name, text in markdown_tables(results).items()}
    found |= {name: say(results) for name, say in SENTENCES.items()}
    found |= {f"figure_{name}": f"![{label}](../paper/{name}.png)" for name, label in labels(results).items()}
    return found | paper_more.parts(results)


def fill(guide: str, results: Results) -> str:
    """The guide with its generated parts replaced."""
    return replaced(guide, "paper", parts(results))


def main() -> None:
    parser = argparse.ArgumentParser(description="Rewrite the guide to the paper's tables from its results.")
    parser.add_argument("results", type=Path, nargs="?", default=Path("tests/benchmarks/results/paper.json"))
    parser.add_argument("guide", type=Path, nargs="?", default=Path("docs/guides/paper.md"))
    parser.add_argument("--quick", action="store_true", help="only check that the guide matches the results")
    arguments = parser.parse_args()
    results = paper_more.with_more(read_json(arguments.results))
    text = arguments.guide.read_text(encoding="utf-8")
    filled = fill(text, results)
    if arguments.quick:
        print("the guide matches the results" if filled == text else "the guide does not match the results")
        sys.exit(filled != text)
    write_text(arguments.guide, filled)
    folder = arguments.guide.parent.parent / "paper"
    for path in [*draw_figures(results, folder), *paper_more.draw_figures(results, folder)]:
        print(f"figure: {path}")


if __name__ == "__main__":
    main()
