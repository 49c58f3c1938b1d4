"""Training: options, objective and its multiplier, one step, the loop."""
