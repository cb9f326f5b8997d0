"""With a budget: what trials took, where the rest of the time goes, duets, and what is left open. For the rooms of what is looked for. Pure."""
