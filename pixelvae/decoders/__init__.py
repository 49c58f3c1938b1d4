"""Decoders: all conditionals p(x_t | x_<t, context) at once, or one site at a time."""
