"""The compiled engine: a step is traced in PyTorch and translated to JAX; the loop is one XLA program."""
