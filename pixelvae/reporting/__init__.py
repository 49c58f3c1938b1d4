"""Reports of runs and results: figures, sounds, HTML pages, TensorBoard."""
