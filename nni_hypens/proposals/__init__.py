"""Which network to train next: ranking before training, and adaptive training with its forecast."""
