"""Readers: a file or JSON body of any supported format becomes a table or tensors."""
