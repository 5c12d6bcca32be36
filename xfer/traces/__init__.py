"""What a training run computed, kept step by step, and why two runs differ."""
