"""State on disk: manifest, tensors, optimizer state, checkpoints of a run under way."""
