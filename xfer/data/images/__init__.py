"""From a file to the pixels that every backend sees."""
