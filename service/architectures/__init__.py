"""From an architecture spec to a torch module: the layer table, the check on the meta device, the build."""
