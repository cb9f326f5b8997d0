"""One cell by itself: its figures, what binds it, who disturbed it, and whether it may be compared. For every room above it. Pure."""
