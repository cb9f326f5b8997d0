"""What a server would answer under another load or with another size: queueing models, held to account by a run's cells. For `tune` and `compare`. Pure."""
