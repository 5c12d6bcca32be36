"""The machine and its processes: devices, distributed runs, signals, profiling, files and paths."""
