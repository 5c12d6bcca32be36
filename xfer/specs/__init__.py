"""What is computed, said without a framework: preprocessing, optimizers, losses, schedules, heads, tasks, settings."""
