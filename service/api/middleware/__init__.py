"""ASGI middleware: what holds for every request and answer, from the outermost to the innermost part."""
