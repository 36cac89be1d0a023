"""The training loop and its components: losses, metrics, optimizers, checkpoints."""
