"""Datasets, from the bytes that clients send to the tensors of a training."""
