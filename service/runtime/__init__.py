"""The process and the machine: garbage collection, memory and file limits."""
