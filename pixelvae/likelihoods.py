"""Likelihoods p(x_t | params_t): map a decoder's output at a site to probabilities of its levels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec, levels_to_signal
from pixelvae.ranges import require_count
from pixelvae.sampling.plan import Native

LOG_SCALES = (-7.0, 7.0)
"""Range of the components' log scales: from a fraction of one of 256 levels to far more than all levels."""


class Likelihood(nn.Module, ABC):
    """Abstract likelihood: the distribution of a site's C channels given the decoder's P parameters.

    Attributes:
        num_params: P, what a decoder must output per site.
        orders_channels: True if the likelihood itself models dependence between the channels of a site. The params of
            a site must then not depend on any of its channels.
    """

    num_params: int
    orders_channels: bool = False

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.channels, self.levels = spec.channels, spec.levels

    @property
    def native(self) -> Native | None:
        """The sampling engine's description of the same probabilities; None if it cannot compute them."""
        return None

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) of every site in nats, channels summed. (B, P, *S), (B, C, *S) -> (B, *S)."""

    @abstractmethod
    def pmf(self, params: Tensor, x_site: Tensor, channel: int) -> Tensor:
        """p(x_channel = k | x_<channel, params) for all levels k. (B, P), (B, C) -> (B, K), sums to 1."""


class Categorical(Likelihood):
    r"""A softmax over the K levels of every channel; one logit where K = 2.

    .. math:: p(x_c = k) = \mathrm{softmax}(\mathrm{params}_c)_k, \qquad
              K = 2:\ p(x_c = 1) = \sigma(\mathrm{params}_c)

    The channels are independent given the params. With a decoder that is not ``channel_masked``, they are independent
    given the previous sites.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), section 3.4.
        https://arxiv.org/abs/1601.06759

    Shape:
        params: (B, C·K, *S), levels fastest; (B, C, *S) where K = 2.

    Example:
        >>> likelihood = Categorical(DataSpec((1, 2, 2), levels=2))
        >>> likelihood.log_prob(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.long)).sum()
        tensor(-2.7726)
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.num_params = spec.channels * (1 if spec.levels == 2 else spec.levels)

    @property
    def native(self) -> Native:
        """The engine's softmax."""
        return Native("softmax")

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) of every site in nats, channels summed. (B, P, *S), (B, C, *S) -> (B, *S)."""
        params = params if params.dtype == torch.float64 else params.float()  # sums of nats stay in float32
        if self.levels == 2:
            return F.logsigmoid(params * (2 * x - 1)).sum(1)
        logits = rearrange(params, "b (c k) ... -> b k c ...", c=self.channels)
        return -F.cross_entropy(logits, x, reduction="none").sum(1)

    def pmf(self, params: Tensor, x_site: Tensor, channel: int) -> Tensor:
        """p(x_channel = k | params) for all levels k. (B, P), (B, C) -> (B, K), sums to 1."""
        if self.levels == 2:
            logit = params[:, channel]
            return torch.stack([-logit, logit], dim=1).sigmoid()
        logits = rearrange(params, "b (c k) -> b c k", c=self.channels)[:, channel]
        return logits.softmax(dim=1)


class DiscretizedLogisticMixture(Likelihood):
    r"""A mixture of discretised logistic distributions; the mean of G depends linearly on R, that of B on both.

    .. math::
        p(x) = \sum_m \pi_m \prod_c \big[\sigma(a_{cm}) - \sigma(b_{cm})\big], \qquad
        a_{cm}, b_{cm} = \frac{s_c - \mu_{cm} \pm \frac{1}{K-1}}{\mathrm{scale}_{cm}}, \qquad
        \mu_{cm} = \mathrm{mean}_{cm} + \sum_{d<c} \tanh(\mathrm{coefficient}_{cdm})\, s_d

    with s = 2 x / (K - 1) - 1 in [-1, 1]. The lowest and the highest level include the tails, so the probabilities sum
    to 1 exactly. They are computed in the log domain from

    .. math:: \log(\sigma(a) - \sigma(b)) = \log\sigma(a) + \log\sigma(-b) + \log(1 - e^{-(a - b)})

    whose last term does not depend on x: there is no cancellation, even for very improbable x.

    Reference:
        PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other Modifications
        (Salimans et al., 2017), sections 2.1 and 2.2. https://arxiv.org/abs/1701.05517
        Differs from the paper in: improbable levels are exact (its code uses the density at the bin's centre); log
        scales also have an upper limit.

    Args:
        spec: Shape and number of levels of the data.
        num_components: M.

    Shape:
        params: (B, (1 + 2C + C (C - 1) / 2)·M, *S), components fastest: logits of the weights, means, log scales,
        coefficients (G on R, B on R, B on G).

    Raises:
        ValueError: If ``num_components`` < 1.

    Example:
        >>> likelihood = DiscretizedLogisticMixture(DataSpec((3, 8, 8), levels=256), num_components=10)
        >>> likelihood.num_params
        100
    """

    orders_channels = True

    def __init__(self, spec: DataSpec, *, num_components: int = 10) -> None:
        super().__init__(spec)
        require_count("num_components", num_components)
        self.num_components, C = num_components, spec.channels
        self.sizes = [1, C, C, C * (C - 1) // 2]
        self.num_params = num_components * sum(self.sizes)

    @property
    def native(self) -> Native:
        """The engine's mixture, which draws by a search of the cumulative distribution."""
        return Native("logistic_mixture", self.num_components)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """log p(x | params) of every site in nats. (B, P, *S), (B, C, *S) -> (B, *S)."""
        log_weights, means, log_scales = self._components(params, x, self.channels)
        log_px = self._log_levels(x[:, :, None], means, log_scales).sum(1)  # (B, M, *S)
        return (log_weights + log_px).logsumexp(1)

    def pmf(self, params: Tensor, x_site: Tensor, channel: int) -> Tensor:
        """p(x_channel = k | x_<channel, params) for all levels k. (B, P), (B, C) -> (B, K), sums to 1."""
        log_weights, means, log_scales = self._components(params, x_site, channel + 1)
        earlier = self._log_levels(x_site[:, :channel, None], means[:, :-1], log_scales[:, :-1]).sum(1)  # (B, M)
        weights = (log_weights + earlier).softmax(1)  # probability of each component given the previous channels
        levels = torch.arange(self.levels, device=params.device)
        log_pmf = self._log_levels(levels, means[:, -1, :, None], log_scales[:, -1, :, None])  # (B, M, K)
        return (weights[:, :, None] * log_pmf.exp()).sum(1)

    def _components(self, params: Tensor, x: Tensor, channels: int) -> tuple[Tensor, Tensor, Tensor]:
        """log π (B, M, *S); means given the previous channels, and log scales: (B, channels, M, *S)."""
        params = params if params.dtype == torch.float64 else params.float()  # sums of nats stay in float32
        params = rearrange(params, "b (p m) ... -> b p m ...", m=self.num_components)
        logits, means, log_scales, coefficients = params.split(self.sizes, dim=1)
        signal = self._signal(x, params)[:, :, None]  # (B, C, 1, *S)
        of_channel = coefficients.tanh().split(list(range(self.channels)), dim=1)
        shifted = [means[:, c] + (of_channel[c] * signal[:, :c]).sum(1) for c in range(channels)]
        return logits[:, 0].log_softmax(1), torch.stack(shifted, 1), log_scales[:, :channels].clamp(*LOG_SCALES)

    def _signal(self, x: Tensor, like: Tensor) -> Tensor:
        return levels_to_signal(x, self.levels, like.dtype)

    def _log_levels(self, x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """log p(x) of each discretised logistic component; the arguments broadcast."""
        precision, centred = (-log_scales).exp(), self._signal(x, means) - means
        bin_width = 2 / (self.levels - 1)
        below = F.logsigmoid((centred + bin_width / 2) * precision)  # of not lying above the bin
        above = F.logsigmoid((bin_width / 2 - centred) * precision)  # of not lying below it
        between = (-(-bin_width * precision).expm1()).log()
        lowest, highest = x == 0, x == self.levels - 1
        zero = means.new_zeros(())
        log_p = torch.where(highest, zero, below) + torch.where(lowest, zero, above)
        return log_p + torch.where(lowest | highest, zero, between)
