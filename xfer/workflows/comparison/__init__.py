"""The same run on several backends, side by side."""
