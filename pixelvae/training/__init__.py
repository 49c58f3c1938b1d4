"""Training: options, objective, one step, the loop."""
