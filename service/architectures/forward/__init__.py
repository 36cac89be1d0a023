"""Forward texts: read with `ast`, checked against a closed grammar, and computed by our own nodes.

    text ─ syntax ─▶ Python's syntax tree ─ grammar ─▶ graph of our nodes ─ module ─▶ tensors

Nothing that a client wrote is compiled, executed or looked up as an attribute: names lead into the tables
of `functions` and to what the spec declares, and nowhere else.
"""
