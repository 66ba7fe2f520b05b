"""Metrics: pure functions of predictions and truth, checked against scikit-learn."""
