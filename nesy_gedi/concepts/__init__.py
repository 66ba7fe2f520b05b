"""What do clusters mean? Discrete maps from clusters to a program's symbols, found from observed answers."""
