"""Features of frozen blocks: extracted, cached, resampled, generated."""
