"""Carrying an experiment out: what is up, which trials, in which order, and what is kept of them."""
