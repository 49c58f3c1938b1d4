"""Sampling plans and what runs them: u -> x, one site after the other. Knows no decoder: it is given plans."""
