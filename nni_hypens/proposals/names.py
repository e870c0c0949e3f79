"""Names of the rankings; imports nothing heavy."""

RANKINGS = ("auto", "spread", "ensemble", "promising")
"""How architectures are chosen for training by the supernet's ranking: `spread` is `choose_spread`, `ensemble` is
`choose_ensemble` and `promising` is `choose_promising` of `nni_hypens.proposals.ranking`. `auto` is `promising` with
adaptive training, otherwise `spread`."""
