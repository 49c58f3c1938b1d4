"""Classes from outside the package, one for each option: what a user would write."""

import torch
from torch import nn

from pixelvae import AutoregressiveDecoder, Digits, Encoder, Prior, Split
from pixelvae import Context as Base
from pixelvae import DataSet as BaseData
from pixelvae import Likelihood as BaseLikelihood
from pixelvae.latents.distributions import DiagonalNormal
from pixelvae.nn.causal import CausalConv2d, shift_right


class LeftOnly(AutoregressiveDecoder):
    """A decoder that sees the pixels to the left."""

    def __init__(self, spec, num_params, context_dim=0, *, channels=4):
        super().__init__(spec, num_params, context_dim)
        self.conv = CausalConv2d(spec.channels, channels, 1, 3)
        self.project = nn.Linear(context_dim, channels)
        self.head = nn.Conv2d(channels, num_params, 1)

    def forward(self, x, context=None):
        """(B, 1, H, W), (B, D) -> (B, P, H, W)."""
        self.check_context(context)
        return self.head((self.conv(shift_right(self.signal(x))) + self.project(context)[:, :, None, None]).relu())


class LinearEncoder(Encoder):
    """A linear map of the pixels."""

    def __init__(self, spec, latent_dim):
        super().__init__(spec, latent_dim)
        self.num_classes = ()
        self.linear = nn.Linear(spec.num_dims, latent_dim)

    def posterior(self, signal, y=None):
        """(B, C, H, W) -> over (B, D)."""
        mean = self.linear(signal.flatten(1))
        return DiagonalNormal(mean, torch.ones_like(mean) / 2)


class WideNormal(Prior):
    """N(0, 4)."""

    def log_prob(self, h):
        """(B, D) -> (B,)."""
        return torch.distributions.Normal(0.0, 2.0, validate_args=False).log_prob(h).sum(1)

    def sample(self, noise):
        """(B, D) -> (B, D)."""
        return 2 * noise


class Latents(Base):
    """The latents alone."""

    def __init__(self, spec, latent_dim):
        super().__init__(spec, latent_dim)
        self.context_dim = latent_dim

    def forward(self, h, y=None):
        """(B, D) -> (B, D)."""
        return h


class Softmax(BaseLikelihood):
    """A softmax over the levels of one channel."""

    def __init__(self, spec):
        super().__init__(spec)
        self.num_params = spec.levels

    def log_prob(self, params, x):
        """(B, K, *S), (B, 1, *S) -> (B, *S)."""
        return params.log_softmax(1).gather(1, x)[:, 0]

    def pmf(self, params, x_site, channel):
        """(B, K), (B, 1) -> (B, K)."""
        return params.softmax(1)


class Reversed(Split):
    """A split from its end."""

    def __init__(self, split):
        self.spec, self.split = split.spec, split

    def __len__(self):
        return len(self.split)

    def __getitem__(self, key):
        return self.split[key._replace(indices=len(self) - 1 - key.indices)]


class ReversedDigits(BaseData):
    """The digits of scikit-learn, each split from its end."""

    def __init__(self, levels=17):
        data = Digits(levels)
        super().__init__(Reversed(data.train), Reversed(data.validation), Reversed(data.test))


PARTS = {
    "likelihood": Softmax,
    "decoder": LeftOnly,
    "encoder": LinearEncoder,
    "prior": WideNormal,
    "context": Latents,
}
