"""The forward grammar: method bodies parsed with `ast` and evaluated by our own graph of nodes."""
