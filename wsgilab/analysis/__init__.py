"""Observations in, a comparison out: figures, validity, bottlenecks, pairs, ranks, recommendation, two runs, claims. Pure."""
