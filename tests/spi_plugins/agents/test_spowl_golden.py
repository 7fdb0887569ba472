"""One gradient step, and the planners' trajectory estimate, against numbers of SPOWL's official code.

Where they come from is in ``tests/data/README.md``.
"""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spi_plugins.agents.spowl.config import OFFICIAL_ERRORS, SPOWLConfig
from spi_plugins.agents.spowl.update import make_spowl
from spi_plugins.buffers import Windows
from spi_plugins.losses.lagrangian import Multipliers
from spi_plugins.planners.estimate import estimate
from spi_plugins.planners.policy import make_policy
from spi_plugins.types import ActionSpec, ArraySpec
from spi_plugins.world_models.tdmpc_networks import TDMPCConfig

DATA = pathlib.Path(__file__).parents[2] / "data"
PARTS = {"_encoder": "encoder", "_dynamics": "dynamics", "_reward": "reward", "_cost": "cost",
         "_Qs": "value", "_Cs": "cost_value", "_pi": "policy", "_decoder": "decoder"}  # fmt: skip
TARGETS = {"_target_Qs": "value", "_target_Cs": "cost_value"}
NAMES = {"weight": "kernel", "bias": "bias", "ln_weight": "scale", "ln_bias": "offset"}

CONFIG = SPOWLConfig(
    model=TDMPCConfig(
        encoder_hidden=(12,), latent_dim=16, hidden=(20, 20), n_values=2, n_costs=3, dropout=0.0,
        log_std_min=-20.0, log_std_max=-19.0, decoder=True, official_log_prob=True,
    ),
    ent_coef=0.0, decoder_coef=0.05, batch_size=4, **dict.fromkeys(OFFICIAL_ERRORS, True),
)  # fmt: skip


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "spowl_step.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def agent():
    observations = ArraySpec(kind="box", shape=(6,), dtype="float32")
    actions = ActionSpec(kind="box", shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0))
    return make_spowl(observations, actions, CONFIG, make_policy())


def parameters(golden, parts, prefix=""):
    """The official arrays under our names: kernels are transposed, the encoder lies in an ``mlp``."""
    found = {}
    for key, value in golden.items():
        match = re.fullmatch(rf"{re.escape(prefix)}(_\w+)\.(\d)\.(\w+)", key)
        if match and match[1] in parts:
            array = np.swapaxes(value, -1, -2) if match[3] == "weight" else value
            found.setdefault(parts[match[1]], {})[f"{NAMES[match[3]]}{match[2]}"] = jnp.asarray(array)
    if "encoder" in found:
        found["encoder"] = {"mlp": found["encoder"], "features": {}}
    return found


def shaped(params, like):
    """Without the empty dicts that a network without parameters does not have."""
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(params))


@pytest.fixture(scope="module")
def state(golden, agent):
    start = agent.named(agent.init(jax.random.key(0)))
    named = start._replace(
        params=shaped(parameters(golden, PARTS), start.params),
        targets=shaped(parameters(golden, TARGETS), start.targets),
        multipliers=Multipliers(jnp.float32(0.5), jnp.float32(0.01)),
    )
    return named


@pytest.fixture(scope="module")
def stepped(golden, agent, state):
    done = golden["done"][..., 0]
    windows = Windows(
        obs=jnp.asarray(golden["obs"]),
        action=jnp.asarray(golden["action"]),
        reward=jnp.asarray(golden["reward"][..., 0]),
        cost=jnp.asarray(golden["cost"][..., 0]),
        terminated=jnp.asarray(golden["term"][..., 0]),
        valid=jnp.asarray(~done[:-1]),
        done=jnp.asarray(done),
    )
    after, metrics = jax.jit(agent.step)(agent.joined(state), windows, jnp.float32(3e-4), jax.random.key(1))
    return agent.named(after), metrics


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("consistency_loss", "consistency_loss"), ("reward_loss", "reward_loss"), ("cost_loss", "cost_loss"),
        ("value_loss", "value_loss"), ("cost_value_loss", "cvalue_loss"), ("decoder_loss", "decoder_loss"),
        ("model_loss", "total_loss"), ("value_target", "value_targets"), ("lagrangian", "psi"),
        ("cost_value_target", "cvalue_targets"),
    ],
)  # fmt: skip
def test_losses_are_the_official_ones(golden, stepped, ours, theirs):
    np.testing.assert_allclose(getattr(stepped[1], ours), golden[f"mets.{theirs}"], rtol=1e-5)


def test_policy_loss_and_multipliers_are_the_official_ones(golden, stepped):
    state, metrics = stepped
    np.testing.assert_allclose(metrics.policy_loss + metrics.lagrangian, golden["mets.pi_loss"], rtol=1e-5)
    np.testing.assert_allclose(state.multipliers.multiplier, golden["lam_after"], rtol=1e-5)
    np.testing.assert_allclose(state.multipliers.penalty, golden["mu_after"], rtol=1e-5)
    np.testing.assert_allclose(state.scale, golden["scale_after"][0], rtol=1e-5)


@pytest.mark.parametrize("part", sorted(PARTS.values()))
def test_parameters_after_the_step_are_the_official_ones(golden, stepped, part):
    after = parameters(golden, PARTS, "after.")[part]
    after = shaped(after, stepped[0].params[part])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), stepped[0].params[part], after)


@pytest.mark.parametrize("part", sorted(TARGETS.values()))
def test_slow_critics_after_the_step_are_the_official_ones(golden, stepped, part):
    after = parameters(golden, TARGETS, "after.")[part]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), stepped[0].targets[part], after)


def test_a_step_changes_the_parameters_by_more_than_the_tolerance(state, stepped):
    """Adam's first step is as long as the learning rate, 30 times the tolerance above."""
    change = np.abs(stepped[0].params["reward"]["kernel1"] - state.params["reward"]["kernel1"])
    assert np.median(change) > 2e-4


def test_forward_passes_are_the_official_ones(golden, agent, state):
    model, params = agent.world.model, state.params
    z = model.encode(params, jnp.asarray(golden["obs"][0]))
    action = jnp.asarray(golden["action"][0])
    step = model.step(params, z, action, jax.random.key(0))
    for name, ours, theirs in [
        ("z0", z, golden["fwd.z0"]),
        ("z1", step.next_z, golden["fwd.z1"]),
        ("reward", step.reward, golden["fwd.reward"][:, 0]),
        ("cost", step.cost.T, golden["fwd.cost"][..., 0]),
        ("value", model.value(params, z, action, None).T, golden["fwd.q_all"][..., 0]),
        ("cost value", model.cost_value(params, z, action, None).T, golden["fwd.c_all"][..., 0]),
        (
            "policy",
            model.policy(params, z, jax.random.key(0), deterministic=True),
            golden["fwd.pi_mean"],
        ),
    ]:
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=name)


def test_the_trajectory_estimate_is_the_official_one(golden, agent, state):
    with np.load(DATA / "spowl_plan.npz") as file:
        plan = dict(file)
    z = jnp.asarray(golden["fwd.z0"][0])
    actions = jnp.asarray(plan["estimate.actions"])
    found = estimate(agent.world.model, state.params, z, actions, jax.random.key(0), with_cost=True)
    for ours, theirs in [("value", "value"), ("cost_value", "cost_value"), ("local_cost", "local_cost")]:
        np.testing.assert_allclose(getattr(found, ours), plan[f"estimate.{theirs}"], atol=1e-5, err_msg=ours)
