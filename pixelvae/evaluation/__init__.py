"""Metrics of a trained model: bounds, information, probes, encodings."""
