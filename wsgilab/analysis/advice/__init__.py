"""Which of the servers that were measured to run: the rule. For `tune` and `compare`. Pure."""
