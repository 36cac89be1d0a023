"""From a file as people have it to a table or tensors: one module for each format, a table of them all."""
