"""Names that settings are checked against; imports neither NumPy nor torch."""

from __future__ import annotations

CALIBRATIONS = ("ensemble", "members", "none")
"""One temperature on the average, one per member as well (fitted first), or no temperature."""
LOG, LINEAR = "log", "linear"
POOLINGS = (LOG, LINEAR)
"""Average of log-probabilities, renormalised, or of probabilities."""
FORMATS = ("onnx", "pt2")
"""File formats of an export."""
