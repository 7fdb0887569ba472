"""Fill a rollout from two halves of the environments: one is stepped while the actions of the other are chosen."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from spi_plugins.actions import to_action
from spi_plugins.agents.on_policy import OnPolicyAgent, OnPolicyState
from spi_plugins.agents.rollout import Storage
from spi_plugins.algorithms.collector import NO_ROLLOUT_BUFFER, Row, Start
from spi_plugins.algorithms.devices import Devices
from spi_plugins.algorithms.step_collector import StepCollector
from spi_plugins.algorithms.stepping import Stepped, check_step
from spi_plugins.algorithms.vec_envs import EnvPoolHalves
from spi_plugins.spaces import to_device
from spi_plugins.types import Observation


class _Decided(NamedTuple):
    """Actions of one half, which the device may still be computing."""

    sampled: jax.Array
    executed: jax.Array
    values: jax.Array
    log_probs: jax.Array


class HalvedStepCollector(StepCollector):
    """Steps ``EnvPoolHalves``.

    All actions of a rollout are chosen with the same parameters, each from its environment's newest observation, so
    the algorithm is that of ``StepCollector``; only the random numbers are others, two chains of keys instead of one.
    Hooks are called when both halves have made a step, and neither has begun the next.
    """

    env: EnvPoolHalves

    def __init__(self, env: EnvPoolHalves, agent: OnPolicyAgent, n_steps: int, devices: Devices):
        super().__init__(env, agent, n_steps, devices)
        self._parts: list[Storage] | None = None
        self._parts_obs: list[Observation] = []
        self._join = self._compiled(_joined)

    def start(self, start: Start) -> None:
        """Begin from the observations where the environments stand; from new episodes after an interrupted step."""
        super().start(start._replace(obs=self.env.reset()) if self.env.is_under_way else start)
        self._parts = None

    def rows(self, state: OnPolicyState, num_timesteps: int) -> Iterator[Row]:
        """Make ``n_steps`` steps."""
        self._begin(state)
        decided = self._decide(0, state)
        for t in range(self.n_steps):
            # The device computes while the host waits for a half, and a half is stepped while the device computes.
            first = self._send(0, decided)
            decided_second = self._decide(1, state)
            second = self._send(1, decided_second)
            raw_first = self.env.receive(0)
            self._parts_obs[0] = to_device(self.env.observation_space, raw_first.obs)
            decisions = decided, decided_second
            if t + 1 < self.n_steps:
                decided = self._decide(0, state)
            obs = self.env.put(0, raw_first.obs)  # the hooks' copy, made while the second is stepped
            raw_second = self.env.receive(1)
            self._parts_obs[1] = to_device(self.env.observation_space, raw_second.obs)
            row = self.env.rows(raw_first, raw_second, self.env.put(1, raw_second.obs, obs))
            next_obs = to_device(self.env.observation_space, row.obs)
            reward, no = np.asarray(row.reward, np.float32), np.zeros(self.env.num_envs, bool)
            stepped = Stepped(
                row.obs, next_obs, reward, row.terminated, row.truncated, row.valid, no, row.infos
            )
            check_step(stepped, next_obs, num_timesteps + (t + 1) * self.env.num_envs)
            self._keep(t, stepped, next_obs, state)
            self._obs = next_obs
            sampled, _, values, log_probs = (np.concatenate(pair) for pair in zip(*decisions, strict=True))
            local = {"env": self.env, "new_obs": row.obs, "rewards": reward, "dones": stepped.done,
                     "infos": row.infos, "actions": sampled, "clipped_actions": np.concatenate([first, second]),
                     "values": values, "log_probs": log_probs, "rollout_buffer": NO_ROLLOUT_BUFFER, "n_steps": t + 1,
                     "action_masks": None}  # fmt: skip
            yield Row(local, row.infos, stepped.done, row.obs)
        assert self._parts is not None
        pairs = zip(self._parts, self._parts_obs, strict=True)
        self._parts = [self._close(state.params, part, obs) for part, obs in pairs]
        self._storage = self._join(*self._parts)

    def _begin(self, state: OnPolicyState) -> None:
        self._parts_obs = [
            jax.tree.map(lambda rows, columns=columns: rows[columns], self._obs)
            for columns in self.env.columns
        ]
        keys = jax.random.split(state.key)
        if self._parts is None:
            self._parts = [
                self._init_storage(state.params, obs, n_steps=self.n_steps, key=key, masks=None)
                for obs, key in zip(self._parts_obs, keys, strict=True)
            ]
        # A rollout that was cut short has not rewound.
        pairs = zip(self._parts, keys, strict=True)
        self._parts = [part._replace(key=key, t=jnp.zeros_like(part.t)) for part, key in pairs]

    def _decide(self, half: int, state: OnPolicyState) -> _Decided:
        """Choose the actions of a half; returns at once."""
        assert self._parts is not None
        self._parts[half], decided = self._act(
            state.params, self._parts[half], self.devices.spread(self._parts_obs[half]), None
        )
        self._storage = self._parts[0]  # whose key follows, should a callback stop here
        return _Decided(*decided)

    def _send(self, half: int, decided: _Decided) -> NDArray[Any]:
        action: NDArray[Any] = to_action(self.env.action_space, np.asarray(decided.executed))
        self.env.send(half, action)
        return action


def _joined(first: Storage, second: Storage) -> Storage:
    """The storage of all environments."""

    def join(one: Any, other: Any, axis: int) -> Any:
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis), one, other)

    rows = {name: join(getattr(first, name), getattr(second, name), 1)
            for name in ("obs", "action", "log_prob", "value")}  # fmt: skip
    return first._replace(noise=join(first.noise, second.noise, 0), **rows)
