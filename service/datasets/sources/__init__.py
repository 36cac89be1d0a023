"""Readers of tables and tensors in JSON bodies and in files of the supported formats."""
