"""Autoregressive decoders: p(x_t | x_<t, context), all at once or one site at a time."""
