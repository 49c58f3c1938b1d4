"""Latents h: distributions, encoders, priors, paths."""
