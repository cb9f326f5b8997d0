"""This machine: its processes, cores and clock, and what else runs on it."""
