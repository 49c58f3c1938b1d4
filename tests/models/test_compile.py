"""torch.compile makes one graph of a model's bound, for every prior."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from small_runs import CONFIG, small_model

PRIORS = {
    "StandardNormal": {},
    "FlowPrior": {"num_transforms": 3, "hidden_channels": [8]},
    "VampPrior": {"num_pseudo_inputs": 4},
}


@pytest.mark.parametrize("prior", PRIORS)
def test_the_bound_is_one_graph(prior):
    config = CONFIG | {"class_conditional": False, "prior": {"class_path": prior, "init_args": PRIORS[prior]}}
    model, counter = small_model(config), CompileCounter()
    x, y = torch.zeros(4, 1, 8, 8, dtype=torch.long), None
    noise = model.draw_noise(4, torch.Generator().manual_seed(0))
    torch._dynamo.reset()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled = torch.compile(model, backend=counter)(x, y, noise=noise)
        eager = model(x, y, noise=noise)
    assert counter.frame_count == 1
    assert torch.equal(compiled.elbo, eager.elbo)
