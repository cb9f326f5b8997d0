"""A run's folder: written while it is measured, read afterwards, whoever it comes from."""
