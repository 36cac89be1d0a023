"""Child processes and the channel between a parent and its children."""
