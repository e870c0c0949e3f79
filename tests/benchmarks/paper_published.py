"""Numbers that the authors of EdgeNES published, each with its file in their repository.

The repository is intsystems/2023-Project-120 on GitHub, at commit 7392cfd6f335b8b42cdb5829f04aaba8fb60dfd0 (26 June
2024). Data are CIFAR-100, except where a comment says otherwise. Every number of theirs in the guide comes from here.
"""

from __future__ import annotations

PAPER, DIPLOMA, SLIDES = "paper", "diploma", "slides"
SOURCES = {
    PAPER: "`paper/EdgeNES-paper.pdf`, Table 2",
    DIPLOMA: "`paper/EdgeNES_diploma-5.pdf`, Table 3",
    SLIDES: "`slides/EdgeNES-slides.pdf`, page 10",
}
"""Where each version of the main table is; `slides/EdgeNES_slides.pdf` has the same table as the last."""

MAIN_TABLE = {
    PAPER: {
        "darts": "46.8 ± 1.7",
        "random": "43.6 ± 6.9",
        "darts_ensemble": "48.2 ± 1.5",
        "random_pool": "46.9 ± 5.2",
        "random_deviations": "47.7 ± 3.4",
        "edgenes": "48.1 ± 1.7",
    },
    DIPLOMA: {
        "darts": "46.8 ± 1.7",
        "random": "44.6 ± 6.9",
        "darts_ensemble": "48.9 ± 1.2",
        "random_pool": "46.9 ± 3.2",
        "random_deviations": "47.7 ± 2.0",
        "edgenes": "48.1 ± 1.7",
    },
    SLIDES: {
        "darts": "46.2 ± 2.2",
        "random": "44.2 ± 3.3",
        "darts_ensemble": "47.5 ± 1.4",
        "random_pool": "45.1 ± 2.8",
        "edgenes": "47.9 ± 1.8",
    },
}
"""Test accuracy in %, mean and spread; ensembles have three members."""

EARLIER_SLIDES = {"darts_ensemble": "61.60 ± 0.43", "random_deviations": "55.60 ± 6.03", "edgenes": "61.46 ± 0.62"}
"""Accuracy in %: `slides/slides_1.pdf`, page 9."""

SEARCH_HOURS = {
    "darts": 1.2,
    "random": 0,
    "darts_ensemble": 3.6,
    "random_pool": 0,
    "random_deviations": 1.2,
    "edgenes": 2.1,
}
"""GPU hours of search (RTX 3070 Ti): the same in every version."""

SHARED = {
    "hypernetwork": ("46.2 ± 2.5", "45.9 ± 2.7", "46.7 ± 2.8", "46.6 ± 2.1"),
    "random": ("43.9 ± 7.7", "46.1 ± 5.4", "45.6 ± 4.9", "45.9 ± 2.5"),
}
"""Accuracy in % at 0, 1, 2 and 3 edges shared with the base, of seven runs: `paper/EdgeNES-paper.pdf`, Table 1."""

ANNEALED = {1: ("59.8 ± 1.8", "57.3 ± 2.8"), 2: ("62.4 ± 2.0", "57.7 ± 2.1"), 3: ("61.6 ± 0.5", "60.2 ± 1.7")}
"""Shared edges: accuracy in % on CIFAR-10 with the regulariser's weight and temperature annealed, and with both
constant: `paper/EdgeNES-paper.pdf`, Table 3, and `paper/EdgeNES_diploma-5.pdf`, Table 1."""

ANNEALED_SLIDE = {1: (30.6, 40.0, 40.3), 2: (28.3, 38.7, 31.0), 3: (26.5, 35.4, 31.4)}
"""lam: accuracy in % with a constant weight, with the weight annealed, and with the temperature annealed:
`slides/slides_for_m1p.pdf`, page 8."""

FIRST_TABLE = {
    0: (92.10, 18), 5: (89.66, 2), 10: (90.59, 2), 15: (90.09, 1), 20: (88.52, 1), 25: (88.54, 1), 30: (87.42, 2),
    35: (86.41, 1), 40: (88.67, 2),
}  # fmt: skip
FIRST_CHOICES = 18
"""Weight of the divergence: accuracy in % on Fashion-MNIST, and choices in common with the base, of 18:
`paper/main.tex`, Table 1 (2023)."""

AREAS_SLIDE = {"darts_ensemble": (2.90, 0.19), "edgenes": (2.78, 0.13)}
"""Mean and spread of the area under accuracy against iterations: `slides/EdgeNES-slides.pdf`, page 9."""

AREA_P = {PAPER: 0.0287, DIPLOMA: 0.0287, SLIDES: 0.0329}
"""p of the t-test between the areas: section 4.2 of paper and diploma, page 9 of the slides."""

ITERATIONS = tuple(range(15, 151, 15))
"""Epochs of the curves below: for DartsEns three times the epochs of one search, which are 5, 10, ... 50."""

DARTS_CURVES = {
    (0, 10, 11): (0.473, 0.4571, 0.4658, 0.468, 0.4552, 0.4631, 0.4705, 0.4652, 0.4667, 0.4753),
    (12, 13, 14): (0.4544, 0.4458, 0.4592, 0.456, 0.4434, 0.4536, 0.4513, 0.4459, 0.4584, 0.4839),
    (15, 16, 17): (0.4722, 0.4705, 0.4734, 0.4672, 0.4696, 0.4745, 0.4689, 0.474, 0.4742, 0.4869),
    (18, 19, 0): (0.4073, 0.4245, 0.4221, 0.4159, 0.4177, 0.4203, 0.4279, 0.4203, 0.4216, 0.4197),
    (10, 15, 17): (0.4588, 0.4413, 0.4337, 0.4369, 0.4454, 0.468, 0.4487, 0.4518, 0.4447, 0.4847),
}
"""Numbers of the three DARTS searches: accuracy of their ensemble. `code/tests.ipynb`, cell 3 (counted from 0),
the ten epochs of fourteen that the figure shows."""

DARTS_ROWS = ((10, 15, 17), (12, 13, 14), (15, 16, 17), (18, 19, 0), (10, 15, 17))
"""The rows of the array of DartsEns that the figure shows: `code/tests.ipynb`, cell 5."""

EDGENES_CURVES = (
    (0.4712, 0.4572, 0.4621, 0.4767, 0.4569, 0.4562, 0.4665, 0.4903, 0.4947, 0.4928),
    (0.433, 0.4427, 0.4493, 0.456, 0.4351, 0.4618, 0.4604, 0.4335, 0.4481, 0.4731),
    (0.4348, 0.4288, 0.4275, 0.4277, 0.4684, 0.4669, 0.4556, 0.4723, 0.435, 0.4701),
    (0.5119, 0.5107, 0.4962, 0.4864, 0.4934, 0.4946, 0.4808, 0.4841, 0.5011, 0.4901),
    (0.4988, 0.4927, 0.5087, 0.511, 0.5071, 0.5027, 0.5031, 0.507, 0.5042, 0.5121),
)
"""Accuracy of ensembles by EdgeNES, five runs: `code/tests.ipynb`, cells 4 and 5."""
