"""Engines: how a chunk of optimizer steps is executed."""
