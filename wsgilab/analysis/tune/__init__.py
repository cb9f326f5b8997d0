"""A race for the best configuration: which need not begin, who leaves after each round, and what to run. For `compare`. Pure."""
