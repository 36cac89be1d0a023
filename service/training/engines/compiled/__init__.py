"""The compiled engine: a training's step traced from PyTorch, translated to JAX, run as one XLA loop."""
