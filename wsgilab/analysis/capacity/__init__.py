"""The highest rate at which a limit on latency holds: which to try next, and what windows say of it. For `compare` and `ab`. Pure."""
