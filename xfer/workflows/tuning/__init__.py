"""Search of training options over trials by Optuna."""
