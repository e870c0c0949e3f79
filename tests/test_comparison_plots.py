"""Figures of a comparison: what they say in words, and that both forms hold every method."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from nni_hypens.comparison_data import Block, comparison_blocks
from nni_hypens.comparison_plots import (
    Content,
    as_png,
    as_svg,
    cost_figure,
    differences_figure,
    scores_figure,
    split_figure,
)
from nni_hypens.report import html as report_html
from nni_hypens.report.svg import COLOUR_VARIABLES, LIGHT
from tests.support.comparison_results import results


@pytest.fixture(scope="module")
def block() -> Block:
    return comparison_blocks(results(data=("a/<set>.npz",)), "adaptive")[0]


def figures(block: Block) -> dict[str, Content]:
    return {
        "scores": scores_figure(block, "adaptive"),
        "differences": differences_figure(block, "EdgeNES, adaptive"),
        "costs": cost_figure(block, "adaptive"),
        "split": split_figure(block),
    }


def test_the_text_alternative_has_every_number(block: Block) -> None:
    found = figures(block)
    for score in block.scores:
        low, high = score.interval
        assert f"{score.rank} {score.title}: {score.mean:.4f} ({low:.4f} to {high:.4f})." in found["scores"][2]
    for one in block.differences:
        assert f"{one.title}: {one.difference:+.1%} (" in found["differences"][2]
    for cost in block.costs:
        assert f"{cost.title}: {cost.total_s:.0f} s, {cost.nll:.4f}." in found["costs"][2]
        assert f"search {cost.search_s:.0f} s, training {cost.training_s:.0f} s." in found["split"][2]


def test_svg_is_of_the_page_and_png_of_a_light_one(block: Block) -> None:
    for name, content in figures(block).items():
        svg = as_svg(content, name)
        root = ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
        assert root.get("role") == "img" and root.get("aria-label") == content[2]
        assert not re.search("#01010[1-6]", svg) and "var(--ink)" in svg
        assert all(value.startswith(name + "-") for value in re.findall(r'\bid="([^"]*)"', svg))
        texts = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
        for score in block.scores[1:]:
            assert re.search(rf"\b{score.rank}\b", texts), (name, score.rank)
        image = Image.open(io.BytesIO(as_png(content))).convert("RGB")
        pixels = {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}
        assert image.width == 800 and (255, 255, 255) in pixels
        ink = tuple(bytes.fromhex(LIGHT["#010101"][1:]))
        assert min(sum(abs(a - b) for a, b in zip(pixel, ink, strict=True)) for pixel in pixels) < 60
        assert not any(max(pixel) < 12 for pixel in pixels)  # no place-holder is left


def test_light_colours_are_those_of_the_page() -> None:
    light = report_html.CSS.split("@media")[0]
    for colour, variable in COLOUR_VARIABLES.items():
        value = re.search(rf"{variable}: (#\w+)", light)[1]
        assert value == LIGHT[colour]


def test_one_seed_is_drawn_without_intervals() -> None:
    block = comparison_blocks(results(seeds=1, data=("digits",)), "adaptive")[0]
    for name, content in figures(block).items():
        assert " to " not in content[2]
        assert as_svg(content, name) and as_png(content)
