"""A posterior of a class that the package does not know."""

from pixelvae.latents.distributions import Distribution


class Opaque(Distribution):
    """The density and the draws of q, and nothing else."""

    def __init__(self, q):
        self.q = q

    def rsample(self, noise):
        return self.q.rsample(noise)

    def log_prob(self, h):
        return self.q.log_prob(h)

    @property
    def mean(self):
        return self.q.mean
