"""Adam and AdamW take the steps that torch's take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from spi_plugins.agents.gradient_steps import move
from spi_plugins.agents.optimizer import make_optimizer
from spi_plugins.algorithms.policy_kwargs import optimizer

CASES = {
    "Adam as SB3 has it": (torch.optim.Adam, None, {"eps": 1e-5}),
    "eps": (torch.optim.Adam, {"eps": 0.1}, {"eps": 0.1}),
    "betas": (torch.optim.Adam, {"betas": (0.5, 0.6)}, {"betas": (0.5, 0.6), "eps": 1e-5}),
    "optax's names": (torch.optim.Adam, {"b1": 0.5, "b2": 0.6}, {"betas": (0.5, 0.6), "eps": 1e-5}),
    "decay of Adam": (torch.optim.Adam, {"weight_decay": 0.3}, {"weight_decay": 0.3, "eps": 1e-5}),
    "AdamW": (torch.optim.AdamW, None, {"eps": 1e-5}),
    "decay of AdamW": (torch.optim.AdamW, {"weight_decay": 0.3}, {"weight_decay": 0.3, "eps": 1e-5}),
}


@pytest.mark.parametrize("case", CASES)
def test_steps_are_torchs(case):
    cls, kwargs, torchs = CASES[case]
    rng = np.random.default_rng(0)
    start = rng.normal(size=5).astype(np.float32)
    ours = {"a": start.copy()}
    theirs = torch.nn.Parameter(torch.tensor(start))
    steps = cls([theirs], lr=0.1, **torchs)
    transformation = make_optimizer(1.0, optimizer({"optimizer_class": cls, "optimizer_kwargs": kwargs}))
    state = transformation.init(ours)
    update = jax.jit(transformation.update)
    for _ in range(4):
        gradient = rng.normal(size=5).astype(np.float32)
        theirs.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_([theirs], 1.0)
        steps.step()
        changes, state = update({"a": gradient}, state, ours)
        ours = move(ours, changes, jnp.float32(0.1))
    np.testing.assert_allclose(ours["a"], theirs.detach().numpy(), rtol=2e-5, atol=2e-6)
