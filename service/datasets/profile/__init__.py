"""Descriptions of a dataset: statistics, histograms, warnings and the content digest."""
