"""The executor that supervises worker processes on this machine."""
