"""The grammar of forward texts: parsed with `ast`, translated into a graph, and computed by its nodes."""
