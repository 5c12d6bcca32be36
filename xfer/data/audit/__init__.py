"""What is in a data set: classes, sizes, duplicates, leaks, damaged files."""
