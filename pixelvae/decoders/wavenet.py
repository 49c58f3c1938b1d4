"""WaveNet: the decoder of sounds."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.data.spec import DataSpec
from pixelvae.decoders.base import AutoregressiveDecoder
from pixelvae.nn.dilated import DilatedLayer, delay
from pixelvae.ranges import MAX_LAYERS, require_count
from pixelvae.sampling.plan import Draft, Plan, Source


class WaveNet(AutoregressiveDecoder):
    r"""Stacks of gated causal convolutions whose dilation doubles from layer to layer: 1, 2, 4, ..., 1, 2, 4, ...

    .. math:: y = \tanh(W_f * x + V_f^\top c) \odot \sigma(W_g * x + V_g^\top c)

    The context c enters both gates of every layer, from one fused projection. It is a vector, broadcast over time
    (the paper's global conditioning, such as the speaker), or a map (its local conditioning, such as phonemes).

    Reference:
        WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016), eq. 2 and 3, figure 4.
        https://arxiv.org/abs/1609.03499
        Differs from the paper in: the first causal convolution has width 1. It is an embedding, equal to a 1x1
        convolution of x one-hot, delayed by one sample; no other layer is delayed. Adjacent levels start with
        similar weights, which trains faster than independent ones. All skip connections are one 1x1 convolution
        of the concatenated gates, equal to their sum. The activation of the two layers behind them is SiLU, so
        that no unit of a small network is always zero.

    Args:
        spec: Shape and number of levels of the data, (1, T).
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.
        num_stacks: Number of repetitions of the dilations 1, 2, 4, ...
        num_layers_per_stack: Number of dilations; the last one is 2^(num_layers_per_stack − 1).
        channels: p, feature maps of the residual connections and of each gate.
        head_channels: Feature maps of the skip connections and of the hidden layer after them.

    Shape:
        x: (B, 1, T) integers in [0, K).  context: (B, D) or (B, D, T).  Returns (B, P, T).

    Raises:
        ValueError: If the data are not sounds of one channel, or a number of layers or channels is below 1.

    Example:
        >>> decoder = WaveNet(DataSpec((1, 50), levels=256), num_params=256, num_layers_per_stack=4, channels=4)
        >>> decoder(torch.zeros(3, 1, 50, dtype=torch.long)).shape
        torch.Size([3, 256, 50])
        >>> decoder.receptive_field
        31
    """

    def __init__(
        self,
        spec: DataSpec,
        num_params: int,
        context_dim: int = 0,
        *,
        num_stacks: int = 2,
        num_layers_per_stack: int = 10,
        channels: int = 32,
        head_channels: int = 64,
    ) -> None:
        super().__init__(spec, num_params, context_dim)
        if len(spec.shape) != 2 or spec.channels != 1:
            raise ValueError(f"data shape {spec.shape} is not a sound of one channel (1, T); use an image decoder")
        require_count("num_stacks", num_stacks, most=MAX_LAYERS)
        require_count("num_layers_per_stack", num_layers_per_stack, most=30)  # the last tap is 2³⁰ samples back
        require_count("channels", channels)
        require_count("head_channels", head_channels)
        self.channels = channels
        self.dilations = [2**i for i in range(num_layers_per_stack)] * num_stacks
        num_layers = len(self.dilations)
        self.embedding = nn.Embedding.from_pretrained(sinusoids(spec.levels, channels), freeze=False)
        self.layers = nn.ModuleList(
            DilatedLayer(channels, dilation, last=i == num_layers - 1) for i, dilation in enumerate(self.dilations)
        )
        self.skips = nn.Conv1d(num_layers * channels, head_channels, 1)
        self.hidden = nn.Conv1d(head_channels, head_channels, 1)
        self.head = nn.Conv1d(head_channels, num_params, 1)
        if context_dim:
            self.context_projection = nn.Linear(context_dim, 2 * channels * num_layers, bias=False)

    @property
    def receptive_field(self) -> int:
        """R, the number of previous sites on which a site depends."""
        return 1 + sum(self.dilations)

    def context_biases(self, context: Tensor | None) -> list[Tensor] | list[float]:
        """V^T c for both gates of every layer: L tensors (B, 2p, 1) or (B, 2p, T)."""
        self.check_context(context)
        if context is None:
            return [0.0] * len(self.layers)
        if context.ndim == 2:
            context = context[:, :, None]
        return list(F.conv1d(context, self.context_projection.weight[:, :, None]).chunk(len(self.layers), dim=1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """All conditionals at once. (B, 1, T) integers -> (B, P, T)."""
        biases = self.context_biases(context)
        h = delay(self.embedding(x[:, 0].long()).transpose(1, 2), 1)  # (B, p, T)
        ys = []
        for layer, bias in zip(self.layers, biases, strict=True):
            h, y = layer(h, bias)
            ys.append(y)
        skips = self.skips(torch.cat(ys, dim=1))  # (B, head_channels, T)
        return self.head(F.silu(self.hidden(F.silu(skips))))

    def plan(self) -> Plan:
        """A sound is an image of one column: a tap d samples ago is d rows above."""
        draft = Draft(self.spec.shape, self.embedding.weight, context_dim=self.context_dim)
        contexts: list[Tensor] | list[None] = [None] * len(self.layers)
        if self.context_dim:
            contexts = list(self.context_projection.weight.mT.chunk(len(self.layers), dim=1))
        ys, h = draft.map(len(self.layers) * self.channels), draft.x.at(dy=1)
        for i, (layer, context) in enumerate(zip(self.layers, contexts, strict=True)):
            before, now = layer.taps.weight[:, :, 0].mT.chunk(2)
            sources = [Source(h.at(dy=layer.dilation), before), Source(h, now)]
            out = ys.channel(i * self.channels)
            y = draft.site(sources, bias=layer.taps.bias, context=context, act="gate", out=out)
            if layer.out is not None:
                h = draft.site([Source(y, layer.out.weight[:, :, 0].mT)], add=h)
        skips = draft.site([Source(ys, self.skips.weight[:, :, 0].mT)], bias=self.skips.bias, act="silu")
        hidden = draft.site([Source(skips, self.hidden.weight[:, :, 0].mT)], bias=self.hidden.bias, act="silu")
        params = draft.site([Source(hidden, self.head.weight[:, :, 0].mT)], bias=self.head.bias)
        return draft.finish(params, self.num_params)


def sinusoids(levels: int, channels: int) -> Tensor:
    r"""Features of each level, similar for adjacent levels: sines and cosines of the signal.

    .. math:: \sin(\omega_i s_k),\ \cos(\omega_i s_k), \qquad s_k = \frac{2k}{K-1} - 1, \quad 1 \le \omega_i \le K / 8

    Shape:
        Returns (levels, channels).

    Example:
        >>> sinusoids(levels=3, channels=2)
        tensor([[-0.8415,  0.5403],
                [ 0.0000,  1.0000],
                [ 0.8415,  0.5403]])
    """
    fastest = math.log10(max(2, levels / 8))
    phase = torch.linspace(-1, 1, levels)[:, None] * torch.logspace(0, fastest, math.ceil(channels / 2))
    features = torch.cat([phase.sin(), phase.cos()], dim=1)[:, :channels]
    return features.contiguous()  # fused optimizers and DDP require a contiguous weight
