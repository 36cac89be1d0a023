"""Checks of an architecture on the meta device: shapes, memory and value probes."""
