"""A and B, two runs or two versions in one: what differs, and what breaches a limit. No other room imports it. Pure."""
