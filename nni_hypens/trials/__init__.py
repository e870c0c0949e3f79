"""Train candidates as NNI trials, on any of NNI's training services."""
