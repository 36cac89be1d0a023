"""Architectures: validation of specs and construction of `torch.nn` modules from them."""
