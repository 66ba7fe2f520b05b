"""Bundled programs and their recipes."""
