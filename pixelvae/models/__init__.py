"""Models: a decoder with its likelihood, its context, and optionally latents."""
