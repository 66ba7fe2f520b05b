"""Perception networks: images or points in, log-probabilities over symbols out."""
