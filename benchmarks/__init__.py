"""Benchmarks: the service beside plain PyTorch and bare FastAPI, interleaved in one run."""
