"""Batch sizes that do not divide the steps: the last minibatch of an epoch is smaller, and every row is visited."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tiny_models import CARTPOLE, ROLLOUT, SMALL, UPDATES, tiny_ppo

from spi_plugins import PPO, DeepMDP, DeepSPI, DreamSPI
from spi_plugins.agents.deep_spi.minibatches import FlatRollout, Minibatch, shuffled, take_minibatch

DREAM = {"policy_kwargs": {"net_arch": [8], "latent_arch": [6]}, "imagination_horizon": 2, "replay_size": 16}
# DreamSPI warns twice: its dreams are cut into minibatches of the same size.
WARNING = r"mini-batch size of 3, but because there are n_steps .* a truncated mini-batch of size [12]"


@pytest.mark.parametrize(("n_rows", "batch_size"), [(8, 3), (8, 4), (7, 6), (5, 5), (9, 2)])
def test_each_epoch_visits_every_row_once(n_rows, batch_size):
    indices = shuffled(jax.random.key(0), n_rows, 3, batch_size)
    per_epoch = -(-n_rows // batch_size)
    assert indices.shape == (3 * per_epoch, batch_size)
    numbers = jnp.arange(n_rows, dtype=jnp.float32)
    fields = dict.fromkeys(Minibatch._fields, numbers) | {"weight": None, "next_obs": None}
    rows = Minibatch(**fields)._replace(valid=jnp.ones(n_rows, bool), obs=jnp.arange(n_rows + 2.0))
    batches = [take_minibatch(FlatRollout(rows, None, 2), index, with_next=True) for index in indices]
    for epoch in range(3):
        seen = [b.reward[b.valid] for b in batches[epoch * per_epoch : (epoch + 1) * per_epoch]]
        assert [len(each) for each in seen[:-1]] == [batch_size] * (per_epoch - 1)
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), numbers)
    for batch in batches:
        np.testing.assert_array_equal(batch.next_obs, batch.obs + 2)


def test_a_rollout_below_the_batch_size_is_one_minibatch():
    with pytest.warns(
        UserWarning, match="after every 0 untruncated mini-batches.* truncated mini-batch of size 8"
    ):
        model = tiny_ppo(batch_size=64)
    model.learn(ROLLOUT)
    assert (model.batch_size, model._n_updates) == (64, 2)
    whole = tiny_ppo(batch_size=ROLLOUT).learn(ROLLOUT)
    for name, value in whole.get_parameters()["policy"].items():
        np.testing.assert_array_equal(value, model.get_parameters()["policy"][name])


class Losses(BaseCallback):
    """All that an update logs."""

    def _on_step(self):
        return True

    def _on_training_end(self):
        self.values = dict(self.logger.name_to_value)


@pytest.mark.parametrize("compiled", [None, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("cls", "kwargs"), [(PPO, {}), (DeepSPI, {}), (DeepMDP, {}), (DreamSPI, DREAM)])
def test_training_with_a_smaller_last_minibatch(cls, kwargs, compiled):
    with pytest.warns(UserWarning, match=WARNING):
        model = cls(
            "MlpPolicy", CARTPOLE, n_envs=2, compiled=compiled, **{**SMALL, "batch_size": 3, **kwargs}
        )
    losses = Losses()
    model.learn(ROLLOUT, callback=losses)
    assert np.isfinite([value for name, value in losses.values.items() if name.endswith("loss")]).all()
    if cls is not DreamSPI:
        assert model._n_updates == 3 * SMALL["n_epochs"] > UPDATES
