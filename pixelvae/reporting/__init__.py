"""What people look at: figures, sounds, pages, TensorBoard."""
