"""The LSTM layers against their formulas, pixel by pixel."""

import pytest
import torch
import torch.nn.functional as F

from pixelvae.nn.recurrent import DiagonalBiLSTMLayer, RowLSTMLayer, lstm

pytestmark = pytest.mark.usefixtures("float64")
P, B, H, W = 2, 3, 4, 5


def step(sums, cell):
    """The paper's equation 3, on (B, 4P) sums in its order o, f, i, g."""
    o, f, i, g = sums[:, :P].sigmoid(), sums[:, P : 2 * P].sigmoid(), sums[:, 2 * P : 3 * P].sigmoid(), sums[:, 3 * P :]
    cell = f * cell + i * g.tanh()
    return o * cell.tanh(), cell


def nothing():
    return torch.zeros(B, P), torch.zeros(B, P)


def at(states, row, column):
    """(h, c) there; zero outside of the image."""
    return states.get((row, column), nothing())


def expanded(layer, x, h):
    """x + W h for a map of states."""
    h = torch.stack([torch.stack([h(i, j) for j in range(W)], -1) for i in range(H)], -2)
    return x + F.conv2d(h, layer.expand.weight, layer.expand.bias)


def test_lstm_is_the_papers():
    """Also far out, where 2σ(2a) − 1 must not overflow."""
    sums, cell = torch.cat([torch.randn(8, 4 * P), torch.full((1, 4 * P), 1e3)]), torch.randn(9, P)
    for ours, papers in zip(lstm(sums, cell), step(sums, cell), strict=True):
        torch.testing.assert_close(ours, papers)


def test_lstm_of_nothing_is_nothing():
    """So what is padded stays zero without a mask."""
    assert not any(state.any() for state in lstm(torch.zeros(1, 4), torch.zeros(1, 1)))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_row_lstm_is_its_formula(kernel_size):
    """The state comes from the k places around it in the row above, the input from the pixels up to it."""
    layer, x, context = RowLSTMLayer(P, kernel_size, 1), torch.randn(B, 2 * P, H, W), torch.randn(B, 4 * P, H, W)
    half, states = kernel_size // 2, {}
    taps = layer.state_to_state.weight[0].view(kernel_size, P, 4 * P)
    for i in range(H):
        for j in range(W):
            sums = context[:, :, i, j] + layer.input_to_state.bias
            for k in range(half + 1):
                if j - half + k >= 0:
                    sums = sums + x[:, :, i, j - half + k] @ layer.input_to_state.weight[:, :, 0, k].T
            for k in range(kernel_size):
                sums = sums + at(states, i - 1, j - half + k)[0] @ taps[k]
            states[i, j] = step(sums, at(states, i - 1, j)[1])
    torch.testing.assert_close(layer(x, context), expanded(layer, x, lambda i, j: states[i, j][0]))


def test_diagonal_bilstm_is_its_formula():
    """Left: from above and from the left. Right: its mirror image, and a row lower."""
    layer, x, context = DiagonalBiLSTMLayer(P, 1), torch.randn(B, 2 * P, H, W), torch.randn(B, 8 * P, H, W)
    gates = F.conv2d(x, layer.input_to_state.weight, layer.input_to_state.bias) + context
    both = []
    for direction, order in ((0, range(W)), (1, range(W)[::-1])):
        above, beside = layer.state_to_state.weight[direction].split(P)
        states, before = {}, (-1, 1)[direction]
        for i in range(H):
            for j in order:
                h, cell = at(states, i, j + before)
                sums = gates.chunk(2, dim=1)[direction][:, :, i, j] + h @ beside + at(states, i - 1, j)[0] @ above
                states[i, j] = step(sums, cell)
        both.append(states)
    left, right = both
    expected = expanded(layer, x, lambda i, j: left[i, j][0] + at(right, i - 1, j)[0])
    torch.testing.assert_close(layer(x, context), expected)


@pytest.mark.parametrize(
    "make", [lambda: RowLSTMLayer(3, 3, 1), lambda: DiagonalBiLSTMLayer(3, 1)], ids=["row", "diagonal"]
)
def test_cells_stay_in_float32_under_autocast(make):
    """A cell sums over the whole image: bfloat16 has no digits for that."""
    torch.set_default_dtype(torch.float32)
    layer, x = make(), torch.randn(2, 6, H, W)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = layer(x, 0.0)
        states = layer.state_to_state(torch.randn(layer.state_to_state.weight.shape[0], W, H, B, 12).bfloat16())
    assert states.dtype == torch.float32
    torch.testing.assert_close(mixed.float(), layer(x, 0.0), rtol=0, atol=0.05)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of the compiler itself, where a graph begins again
@pytest.mark.parametrize(
    "make", [lambda: RowLSTMLayer(2, 3, 1), lambda: DiagonalBiLSTMLayer(2, 1)], ids=["row", "diagonal"]
)
def test_torch_compile_does_not_unroll_the_recurrence(make):
    """The same values, and as many operations in the graphs for 12 rows as for 4."""
    from torch._dynamo.testing import CompileCounter

    operations = []
    for rows in (4, 12):
        torch._dynamo.reset()
        layer, x, counter = make(), torch.randn(2, 4, rows, W), CompileCounter()
        torch.testing.assert_close(torch.compile(layer, backend=counter)(x, 0.0), layer(x, 0.0))
        operations.append(counter.op_count)
    assert 0 < operations[0] == operations[1]
