"""Data cards: source, licence, checksums, splits and classes of every known data set; no data."""
