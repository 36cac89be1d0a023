"""Executors: where worker processes run."""
