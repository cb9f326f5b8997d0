"""A run's folder: written while it is measured, read afterwards, from a stranger too."""
