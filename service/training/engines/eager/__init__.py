"""The eager engine: a plain PyTorch loop, with CUDA graphs on a GPU."""
