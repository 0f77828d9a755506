"""What happens inside a model: its intermediate results, by name, and what follows when they are others."""
