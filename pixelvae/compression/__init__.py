"""Lossless compression of pictures and sounds to about the size of a model's bound."""
