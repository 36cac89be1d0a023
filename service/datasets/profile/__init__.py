"""Summaries of a stored dataset: statistics, histograms and the content digest."""
