"""Benchmarks of the service against plain PyTorch and a minimal FastAPI app, interleaved in one run."""
