"""The networks of the benchmark; speed itself is never asserted."""

import torch

from load_script import load_script

BENCHMARK = load_script("benchmark")
CPU = torch.device("cpu")


def test_the_lineage_has_equal_parameters():
    """Within 15 %, as in its table."""
    counts = [sum(p.numel() for p in BENCHMARK.lineage_model(name, CPU).parameters()) for name in BENCHMARK.LINEAGE]
    assert max(counts) <= 1.15 * min(counts)


def test_wavenet_sees_a_whole_sound():
    model = BENCHMARK.wavenet_model(CPU)
    assert model.decoder.receptive_field == BENCHMARK.SOUND.num_dims
