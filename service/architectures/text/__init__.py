"""Texts of classes, forwards and losses: parsed with `ast`, translated into nodes, and evaluated."""
