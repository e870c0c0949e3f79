"""Names that the command line and the trials share; imports nothing heavy."""

TRIAL_COMMAND = "search-in-trial"
"""Hidden command that the trial of a live search runs; users who ran it would have two searches in one folder."""
SCHEDULES = ("cosine", "one_cycle")
"""Learning rates of the command line's evaluator over the epochs."""
