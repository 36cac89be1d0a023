"""Engines, which execute the steps of a training."""
