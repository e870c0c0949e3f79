"""Names of the ways to calibrate an ensemble; imports nothing heavy."""

CALIBRATIONS = ("ensemble", "members", "none")
"""One temperature for the averaged probabilities; one for each member before averaging; or none."""
