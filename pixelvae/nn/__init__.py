"""Layers that know no probability."""
