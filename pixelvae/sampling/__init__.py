"""Sampling plans and their executors: u -> x, one site after the other. Independent of the decoders."""
