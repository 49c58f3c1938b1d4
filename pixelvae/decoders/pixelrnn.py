"""PixelRNN: the Row LSTM and the Diagonal BiLSTM."""

from __future__ import annotations

from torch import Tensor

from pixelvae.data.spec import DataSpec
from pixelvae.decoders.residual import ResidualDecoder
from pixelvae.nn.causal import matrix
from pixelvae.nn.recurrent import DiagonalBiLSTMLayer, RowLSTMLayer
from pixelvae.ranges import require_odd
from pixelvae.sampling.plan import Draft, Ref, Source, taps


class RowLSTM(ResidualDecoder):
    r"""LSTMs over the rows; the receptive field of a pixel is a triangle that widens upwards.

    .. math::
        [o_i, f_i, i_i, g_i] &= K^{ss} \circledast h_{i-1} + K^{is} \circledast x_i + V^\top c \\
        c_i &= \sigma(f_i) \odot c_{i-1} + \sigma(i_i) \odot \tanh(g_i), \qquad
        h_i = \sigma(o_i) \odot \tanh(c_i)

    A whole row is one step of the recurrence: a 1-D convolution of the states of the row above.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), sections 3.1 and 3.3, eq. 3, table 1.
        https://arxiv.org/abs/1601.06759
        Differs from the paper in: a context :math:`c` enters all gates of every layer as a bias, by the
        :math:`V^\top c` of the Gated PixelCNN.

    Args:
        spec: Shape and number of levels of the data, (C, H, W).
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.
        num_layers: Number of LSTM layers, at least 1.
        channels: h, width of the LSTMs; 2h features lie between the layers. A multiple of C where
            ``channel_masked``.
        kernel_size: Odd size k of the convolutions along the row.
        first_kernel_size: Odd size of the first layer's kernel, which has the image as input and mask A.
        head_channels: Width of the output layer.
        channel_masked: Whether the network orders the colour channels (R, then G given R, then B given
            both). Else a site's params depend on no channel of that site, and the likelihood orders them.

    Shape:
        x: (B, C, H, W) integers in [0, K).  context: (B, D) or (B, D, H, W).  Returns (B, P, H, W).

    Raises:
        ValueError: If a kernel size is even, ``num_layers`` < 1, the data are not images, or channels cannot
            be split among the colours.

    Example:
        >>> import torch
        >>> decoder = RowLSTM(DataSpec((1, 8, 8), levels=2), num_params=1, num_layers=2, channels=4)
        >>> decoder(torch.zeros(3, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([3, 1, 8, 8])
    """

    def __init__(
        self,
        spec: DataSpec,
        num_params: int,
        context_dim: int = 0,
        *,
        num_layers: int = 5,
        channels: int = 32,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        head_channels: int = 64,
        channel_masked: bool = True,
    ) -> None:
        require_odd("kernel_size", kernel_size)
        super().__init__(
            spec,
            num_params,
            context_dim,
            lambda groups: RowLSTMLayer(channels, kernel_size, groups),
            num_layers=num_layers,
            channels=channels,
            first_kernel_size=first_kernel_size,
            head_channels=head_channels,
            channel_masked=channel_masked,
        )

    def plan_layer(self, draft: Draft, layer: RowLSTMLayer, features: Ref, context: Tensor | None) -> Ref:  # type: ignore[override]
        """State to state a row at a time, input to state and the LSTM a pixel at a time."""
        h, cell = draft.map(layer.state_to_state.channels), draft.map(layer.state_to_state.channels)
        kernels = layer.state_to_state.weight[0].chunk(layer.state_to_state.taps)
        half = len(kernels) // 2
        above = [Source(h.at(dy=1, dx=i - half), kernel) for i, kernel in enumerate(kernels)]
        state = draft.row(above, bias=layer.input_to_state.bias, context=context)
        inputs = taps(features, layer.input_to_state.causal_weight())
        draft.site(inputs, add=state, act="lstm", out=h, cell=cell.at(dy=1), cell_out=cell)
        return draft.site([Source(h, matrix(layer.expand))], bias=layer.expand.bias, add=features)


class DiagonalBiLSTM(ResidualDecoder):
    r"""LSTMs over the diagonals from both upper corners; the receptive field of a pixel is the whole past.

    .. math::
        [o_{ij}, f_{ij}, i_{ij}, g_{ij}] &= K^{ss} [h_{i-1,j}, h_{i,j-1}] + K^{is} x_{ij} + V^\top c \\
        c_{ij} &= \sigma(f_{ij}) \odot c_{i,j-1} + \sigma(i_{ij}) \odot \tanh(g_{ij}), \qquad
        h_{ij} = \sigma(o_{ij}) \odot \tanh(c_{ij})

    The formula is the left direction's; the right one is its mirror image, shifted down by one row. A whole
    diagonal is one step.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord et al., 2016), sections 3.2 and 3.3, figure 3, table 1.
        https://arxiv.org/abs/1601.06759
        Differs from the paper in: a context :math:`c` enters all gates of every layer as a bias, by the
        :math:`V^\top c` of the Gated PixelCNN. The maps have one column more than the image. By mask A, the
        features of a pixel depend on the pixels before it and not on the pixel itself. So no features of a row
        depend on its last pixel. The additional column does; through it the right direction passes the last
        pixel to the next row.

    Args:
        spec: Shape and number of levels of the data, (C, H, W).
        num_params: Likelihood parameters P per site.
        context_dim: Width D of the context, 0 for none.
        num_layers: Number of layers of two LSTMs, at least 1.
        channels: h, width of each LSTM; 2h features lie between the layers. A multiple of C where
            ``channel_masked``.
        first_kernel_size: Odd size of the first layer's kernel, which has the image as input and mask A.
        head_channels: Width of the output layer.
        channel_masked: Whether the network orders the colour channels (R, then G given R, then B given
            both). Else a site's params depend on no channel of that site, and the likelihood orders them.

    Shape:
        x: (B, C, H, W) integers in [0, K).  context: (B, D) or (B, D, H, W).  Returns (B, P, H, W).

    Raises:
        ValueError: If the first kernel's size is even, ``num_layers`` < 1, the data are not images, or channels
            cannot be split among the colours.

    Example:
        >>> import torch
        >>> decoder = DiagonalBiLSTM(DataSpec((1, 8, 8), levels=2), num_params=1, num_layers=2, channels=4)
        >>> decoder(torch.zeros(3, 1, 8, 8, dtype=torch.long)).shape
        torch.Size([3, 1, 8, 8])
    """

    columns_beyond = 1

    def __init__(
        self,
        spec: DataSpec,
        num_params: int,
        context_dim: int = 0,
        *,
        num_layers: int = 4,
        channels: int = 32,
        first_kernel_size: int = 7,
        head_channels: int = 64,
        channel_masked: bool = True,
    ) -> None:
        super().__init__(
            spec,
            num_params,
            context_dim,
            lambda groups: DiagonalBiLSTMLayer(channels, groups),
            num_layers=num_layers,
            channels=channels,
            first_kernel_size=first_kernel_size,
            head_channels=head_channels,
            channel_masked=channel_masked,
        )

    def plan_layer(self, draft: Draft, layer: DiagonalBiLSTMLayer, features: Ref, context: Tensor | None) -> Ref:  # type: ignore[override]
        """The left LSTM a pixel at a time; the right one over every finished row, for the next row."""
        channels = layer.state_to_state.channels
        left, left_cell, right, right_cell = (draft.map(channels) for _ in range(4))
        to_left, to_right = matrix(layer.input_to_state).chunk(2, dim=1)
        left_bias, right_bias = layer.input_to_state.bias.chunk(2)
        left_context, right_context = (None, None) if context is None else context.chunk(2, dim=1)
        above, beside = zip(*(weight.chunk(2) for weight in layer.state_to_state.weight), strict=True)
        state = draft.row([Source(left.at(dy=1), above[0])], bias=left_bias, context=left_context)
        inputs = [Source(features, to_left), Source(left.at(dx=-1), beside[0])]
        draft.site(inputs, add=state, act="lstm", out=left, cell=left_cell.at(dx=-1), cell_out=left_cell)
        inputs = [Source(features, to_right), Source(right.at(dy=1), above[1]), Source(right.at(dx=1), beside[1])]
        draft.sweep(
            inputs,
            bias=right_bias,
            context=right_context,
            act="lstm",
            out=right,
            cell=right_cell.at(dx=1),
            cell_out=right_cell,
        )
        expand = matrix(layer.expand)
        both = [Source(left, expand), Source(right.at(dy=1), expand)]
        return draft.site(both, bias=layer.expand.bias, add=features)
