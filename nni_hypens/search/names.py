"""Names of the search's choices; imports nothing heavy."""

DIVERSITY_NAMES = ("shared_edges", "jensen_shannon")
"""Regularisers, see `nni_hypens.run.plan.DIVERSITIES`."""
