"""The layers of PixelRNN one pixel at a time: a finished row is never computed again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pixelvae.decoders.residual_stepper import ConvStepper, LayersStepper, PointwiseStepper
from pixelvae.nn.recurrent import DiagonalBiLSTMLayer, RowLSTMLayer, lstm


class RowLSTMs(LayersStepper):
    """The layers of a Row LSTM, each by itself."""

    def __init__(self, layers: Sequence[RowLSTMLayer], batch_size: int, width: int) -> None:
        self.layers = [_RowLSTM(layer, batch_size, width) for layer in layers]

    def start_row(self, contexts: Sequence[Tensor]) -> None:
        """One state-to-state convolution of the whole row above for every layer."""
        for layer, context in zip(self.layers, contexts, strict=True):
            layer.start_row(context)

    def pixel(self, features: Tensor, column: int) -> Tensor:
        """Two products and an LSTM step for every layer. (B, 2h) -> (B, 2h)."""
        for layer in self.layers:
            features = layer.pixel(features, column)
        return features


class _RowLSTM:
    """Keeps h and the cell of the row above and of this row, and the inputs of this row."""

    def __init__(self, layer: RowLSTMLayer, batch_size: int, width: int) -> None:
        self.state_to_state = layer.state_to_state
        self.input_to_state = ConvStepper(layer.input_to_state, batch_size, width)
        self.expand = PointwiseStepper(layer.expand)
        self.h, self.cell = self.expand.weight.new_zeros(2, width, batch_size, layer.state_to_state.channels)

    def start_row(self, context: Tensor) -> None:
        sums = self.state_to_state.sums(self.h[None])[0]  # (W, B, 4h)
        self.input_to_state.start_row(context + sums)
        self.cell_above, self.cell = self.cell, torch.empty_like(self.cell)

    def pixel(self, features: Tensor, column: int) -> Tensor:
        gates = self.input_to_state.pixel(features, column)  # (B, 4h)
        self.h[column], self.cell[column] = lstm(gates, self.cell_above[column])
        return features + self.expand(self.h[column])


class DiagonalBiLSTMs(LayersStepper):
    """The layers of a Diagonal BiLSTM, the left one a pixel at a time, the right one a row at a time.

    The right one is shifted down: the first pixel of a row sees it at the end of its way over the whole row above,
    from the right to the left. That row is finished in all layers, so all go that way together, once a row.

    Shape, for L layers on maps of W columns:
        left_h, left_cell: (L, 1 + W, B, h), of the pixels so far in this row and later ones above; before
        the first column zero.  right_h: (L, W, B, h), of the row above the last one.  inputs: (L, W, B, 2h).
    """

    def __init__(self, layers: Sequence[DiagonalBiLSTMLayer], batch_size: int, width: int) -> None:
        self.is_first_row = True
        channels = layers[0].state_to_state.channels
        gates = [PointwiseStepper(layer.input_to_state) for layer in layers]
        expand = [PointwiseStepper(layer.expand) for layer in layers]
        to_state = torch.stack([conv.weight for conv in gates])  # (L, 2h, 8h)
        self.gate_bias = torch.stack([conv.bias for conv in gates])[:, None, None]  # (L, 1, 1, 8h)
        state = torch.stack([layer.state_to_state.weight for layer in layers])  # (L, 2, 2h, 4h)
        (self.left_above, left_beside), (self.right_above, self.right_beside) = (
            state[:, direction].split(channels, dim=1) for direction in (0, 1)
        )
        left_input, self.right_input = to_state.chunk(2, dim=2)
        self.left = torch.cat([left_input, left_beside], dim=1).unbind()  # L of (3h, 4h)
        self.expand = torch.stack([conv.weight for conv in expand])  # (L, h, 2h)
        self.expand_bias = torch.stack([conv.bias for conv in expand])[:, None, None]  # (L, 1, 1, 2h)
        zeros = state.new_zeros
        self.left_h, self.left_cell = zeros(2, len(layers), 1 + width, batch_size, channels)
        self.right_h = zeros(len(layers), width, batch_size, channels)
        self.inputs = zeros(len(layers), width, batch_size, 2 * channels)

    def start_row(self, contexts: Sequence[Tensor]) -> None:
        """Send the right LSTM over the row above; ask the left one what it saw there."""
        if not self.is_first_row:
            self._right_lstm()
        left_context, self.right_context = (torch.stack([*contexts]) + self.gate_bias).chunk(2, dim=3)
        self.gates = _product(self.left_h[:, 1:], self.left_above) + left_context  # (L, W, B, 4h)
        self.skip = self.expand_bias + (0 if self.is_first_row else _product(self.right_h, self.expand))
        self.skip = self.skip.expand_as(self.inputs)  # (L, W, B, 2h), what the right LSTM adds to the features
        self.is_first_row = False

    def _right_lstm(self) -> None:
        sums = _product(self.inputs, self.right_input) + _product(self.right_h, self.right_above)
        sums = sums + self.right_context  # (L, W, B, 4h)
        h = cell = torch.zeros_like(self.right_h[:, 0])
        for column in reversed(range(sums.shape[1])):
            h, cell = lstm(torch.baddbmm(sums[:, column], h, self.right_beside), cell)
            self.right_h[:, column] = h

    def pixel(self, features: Tensor, column: int) -> Tensor:
        """Two products and an LSTM step for every layer. (B, 2h) -> (B, 2h)."""
        for layer, weight in enumerate(self.left):
            self.inputs[layer, column] = features
            seen = torch.cat([features, self.left_h[layer, column]], dim=1)  # (B, 3h)
            gates = torch.addmm(self.gates[layer, column], seen, weight)
            h, self.left_cell[layer, column + 1] = lstm(gates, self.left_cell[layer, column])
            self.left_h[layer, column + 1] = h
            features = features + torch.addmm(self.skip[layer, column], h, self.expand[layer])
        return features


def _product(features: Tensor, weight: Tensor) -> Tensor:
    """Every layer's own matrix. (L, W, B, in), (L, in, out) -> (L, W, B, out)."""
    return torch.bmm(features.flatten(1, 2), weight).unflatten(1, features.shape[1:3])
