"""Training: recipes, tasks, the loop, checkpoints and run folders."""
