"""Which network to train next: ranking before training, and adaptive training, which plans the rest of a run."""
