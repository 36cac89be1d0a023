"""Export of an architecture as Python source."""
