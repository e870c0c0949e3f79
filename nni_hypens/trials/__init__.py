"""Candidates are trained: as NNI trials, on any of its training services."""
