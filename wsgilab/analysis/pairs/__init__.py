"""Cells beside each other: ratios by speed and by cost, ranks, and what blocks, machines and more cores change. For every room above it. Pure."""
