"""The figures of a comparison, from made-up results."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from nni_hypens.compare.blocks import Block, comparison_blocks
from nni_hypens.compare.figures import (
    Drawing,
    as_png,
    as_svg,
    cost_figure,
    differences_figure,
    scores_figure,
    split_figure,
)
from nni_hypens.report.svg import LIGHT
from tests.support.comparison_results import results


@pytest.fixture(scope="module")
def block() -> Block:
    return comparison_blocks(results(data=("a/<set>.npz",)), "adaptive")[0]


def figures(block: Block) -> dict[str, Drawing]:
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
        assert f"{score.rank} {score.title}: {score.mean:.4f} ({low:.4f} to {high:.4f})." in found["scores"].label
    for one in block.differences:
        assert f"{one.title}: {one.difference:+.1%} (" in found["differences"].label
    for cost in block.costs:
        assert f"{cost.title}: {cost.total_s:.0f} s, {cost.nll:.4f}." in found["costs"].label
        assert f"search {cost.search_s:.0f} s, training {cost.training_s:.0f} s." in found["split"].label


def test_svg_is_of_the_page_and_png_of_a_light_one(block: Block) -> None:
    for name, drawn in figures(block).items():
        svg = str(as_svg(drawn, name))
        root = ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
        assert root.get("role") == "img" and root.get("aria-label") == drawn.label
        assert not re.search("#01010[1-6]", svg) and "var(--ink)" in svg
        assert all(value.startswith(name + "-") for value in re.findall(r'\bid="([^"]*)"', svg))
        texts = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
        for score in block.scores[1:]:
            assert re.search(rf"\b{score.rank}\b", texts), (name, score.rank)
        image = Image.open(io.BytesIO(as_png(drawn))).convert("RGB")
        pixels = {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}
        assert image.width == 800 and (255, 255, 255) in pixels
        ink = tuple(bytes.fromhex(LIGHT["#010101"][1:]))
        assert min(sum(abs(a - b) for a, b in zip(pixel, ink, strict=True)) for pixel in pixels) < 60
        assert not any(max(pixel) < 12 for pixel in pixels)  # no place-holder is left


def test_one_seed_is_drawn_without_intervals() -> None:
    block = comparison_blocks(results(seeds=1, data=("digits",)), "adaptive")[0]
    for name, drawn in figures(block).items():
        assert " to " not in drawn.label
        assert as_svg(drawn, name) and as_png(drawn)
