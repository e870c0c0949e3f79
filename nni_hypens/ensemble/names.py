"""Names that settings are checked against; imports neither NumPy nor torch."""

from __future__ import annotations

CALIBRATIONS = ("ensemble", "members", "none")
"""One temperature on the averaged probabilities, one per member before averaging, or no temperature."""
FORMATS = ("onnx", "pt2")
"""File formats of an export."""
