"""Models: a decoder with its likelihood and what conditions it."""
