"""The machine and its processes: devices, distributed runs, signals, progress, profiling, files and paths."""
