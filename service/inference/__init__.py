"""Predictions, evaluations, parameters and exports of trained models."""
