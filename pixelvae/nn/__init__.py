"""Layers without probabilities: causal convolutions, gates, masks, LSTMs."""
