"""What the mathematics guarantees of a model, and what it measures: bounds, thresholds, diagnosis."""
