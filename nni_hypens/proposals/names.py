"""Names of the rankings; imports nothing heavy."""

RANKINGS = ("auto", "none", "spread", "ensemble", "promising")
"""How architectures are chosen for training before any is trained: `none` is `choose_start`, and by the supernet's
ranking `spread` is `choose_spread`, `ensemble` is `choose_ensemble` and `promising` is `choose_promising`, all of
`nni_hypens.proposals.ranking`. `auto` is `none` with adaptive training, otherwise `spread`."""
WITH_LARGE = ("none", "promising")
"""Rankings whose pool has large random architectures too, and no place that is kept for the base."""
