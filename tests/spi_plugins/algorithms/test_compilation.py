"""Each jitted entry point is compiled once, donates what it replaces, and holds one rollout and no more."""

import functools
import logging

import jax
import jax.numpy as jnp
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tiny_models import ROLLOUT, SMALL, tiny_ppo

from spi_integrations.envpool import make_vec
from spi_plugins import PPO
from spi_plugins.agents.rollout import Runner, init_storage
from spi_plugins.algorithms.compiled_collector import CompiledCollector
from spi_plugins.algorithms.step_collector import StepCollector
from spi_plugins.envs import autoreset
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.losses.ppo import ClipRanges
from spi_plugins.types import ActionSpec, ArraySpec

ENTRY_POINTS = {
    "compiled": ("_run",),
    "envpool": ("_collect", "_update"),
    "stepped": ("_init_storage", "_act", "_close", "_value", "_update"),
}


class CompileLog(BaseCallback):
    """Collects the names of the programs that JAX compiles, by iteration."""

    def __init__(self, caplog):
        super().__init__()
        self.caplog = caplog
        self.compiled = []

    def _on_rollout_start(self):
        self.compiled.append([])
        self.caplog.clear()

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self._take()

    def _on_training_end(self):
        self._take()

    def _take(self):
        lines = [record.getMessage() for record in self.caplog.records]
        self.compiled[-1] += [line.split(" ")[1] for line in lines if line.startswith("Compiling ")]
        self.caplog.clear()


def make(path):
    if path == "envpool":
        return PPO("MlpPolicy", make_vec("CartPole-v1", 2, seed=0), **SMALL)
    return tiny_ppo(path)


@pytest.mark.parametrize("path", ["compiled", "stepped", "envpool"])
def test_a_whole_training_compiles_in_its_first_two_iterations_only(path, caplog):
    model, log = make(path), CompileLog(caplog)
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        model.learn(12 * ROLLOUT, callback=log)
    assert len(log.compiled) == 12
    assert any(log.compiled[:2])
    # Episodes last 8 or 9 steps, so the first one to end does so in the second or third iteration.
    later = [name for names in log.compiled[3:] for name in names]
    assert later == []
    # Nor when training goes on, on the same or on restored parameters.
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        model.learn(2 * ROLLOUT, reset_num_timesteps=False)
        model.set_parameters(model.get_parameters())
        model.learn(2 * ROLLOUT)
    for name in ENTRY_POINTS[path]:
        assert getattr(model._collector, name)._cache_size() == 1, name


def deleted(tree):
    return [leaf.is_deleted() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("path", ["compiled", "stepped"])
def test_old_state_is_donated_to_the_new(path):
    model = make(path).learn(ROLLOUT)
    collector, old = model._collector, model._agent_state
    # A rollout's rows are written in place, from one step to the next and from one rollout to the next.
    rows = collector._storage.obs if path == "stepped" else collector._runner_obs
    address = rows.unsafe_buffer_pointer()
    model._iterate(model._init_callback(None), 10**6, 1, log=False)
    assert all(deleted((old.params, old.opt_state, rows)))
    assert not any(deleted(model._agent_state))
    if path == "stepped":
        assert collector._storage.obs.unsafe_buffer_pointer() == address


ATARI = ArraySpec(kind="image", shape=(4, 84, 84), dtype="uint8", low=0.0, high=255.0, channels_first=True)
N_ENVS, N_STEPS = 1024, 8
ROLLOUT_BYTES = (N_STEPS + 1) * N_ENVS * 4 * 84 * 84


def make_atari_shaped():
    """Frames of one number, which counts up to 5."""
    return FunctionalEnv(
        observation_spec=ATARI,
        action_spec=ActionSpec(kind="discrete", nvec=(2,)),
        params=(),
        initial=lambda key, params: jax.random.bernoulli(key).astype(jnp.int32),
        observation=lambda state, params: jnp.full(ATARI.shape, state, jnp.uint8),
        transition=lambda state, action, key, params: state + 1,
        reward=lambda state, action, after, params: jnp.float32(1),
        cost=lambda state, action, after, params: jnp.float32(0),
        terminal=lambda state, params: state >= 5,
        name="AtariShaped",
    )


def atari_ppo():
    kwargs = {"net_arch": [8], "conv_layers": [(4, 8, 8)]}
    env = make_atari_shaped()
    return PPO("CnnPolicy", env, n_envs=N_ENVS, n_steps=N_STEPS, batch_size=64, policy_kwargs=kwargs, seed=0)


def held(program):
    """Bytes of inputs, outputs that do not take an input's place, and temporary arrays."""
    memory = program.compile().memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return kept + memory.temp_size_in_bytes


def test_1024_atari_environments_need_half_as_much_memory_again_as_their_rollout():
    model = atari_ppo()
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), N_ENVS))
    env_state, obs = jax.eval_shape(lambda keys: autoreset.reset(model.env.functional, (), keys), keys)
    state = jax.eval_shape(lambda: model._agent_state)
    rate = jax.ShapeDtypeStruct((), jnp.float32)
    rates = (rate, ClipRanges(rate))
    runner = Runner(state, env_state, obs)
    assert (
        held(CompiledCollector(model.env, model.agent, N_STEPS, model.devices)._run.lower(runner, (), *rates))
        < 1.5 * ROLLOUT_BYTES
    )
    # When Python steps, the rollout is an argument of each program.
    stepping = StepCollector(model.env, model.agent, N_STEPS, model.devices)
    storage = jax.eval_shape(
        functools.partial(init_storage, model.agent, n_steps=N_STEPS), state.params, obs, key=state.key
    )
    assert ROLLOUT_BYTES < held(stepping._act.lower(state.params, storage, obs)) < 1.5 * ROLLOUT_BYTES
    assert held(stepping._close.lower(state.params, storage, obs)) < 1.5 * ROLLOUT_BYTES
    rollout = stepping._rollout(storage)
    assert rollout.final_obs is None
    assert held(stepping._update.lower(state, rollout, *rates)) < 1.5 * ROLLOUT_BYTES
