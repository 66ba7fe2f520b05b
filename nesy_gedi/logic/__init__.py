"""Logic programs: reading, grounding, circuits, exact inference."""
