"""Perception networks: images in, log-probabilities over symbols out."""
