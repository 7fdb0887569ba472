"""How good a dream is: prediction along real rollouts, and the return of a policy in both worlds."""

import os
from typing import Any, Literal

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from spi_plugins.actions import from_action, restored_action, stored_action
from spi_plugins.buffers import Slot, Windows, windows
from spi_plugins.dreams.file import StoredWorldModel
from spi_plugins.dreams.opening import find_world_model
from spi_plugins.fitting.open_loop import OpenLoop, open_loop
from spi_plugins.spaces import to_device
from spi_plugins.types import COST_KEY, Observation
from spi_wrappers.dream.env import DreamVectorEnv
from spi_wrappers.dream.observation import View
from spi_wrappers.dream.report import Calibration, DreamReport

_BINS = 10
Seen = Literal["real", "latent", "decoded"]


class DreamCheck:
    """Compare a dream with reality under a policy.

    Args:
        env: the real environment, as the world model was fitted on it.
        model: path of the world model's file, name of a registered dream, or the loaded file.
        policy: anything with SB3's ``predict``, trained in the real environment or in a dream of it; ``None`` for
            uniform actions.
        observation: what the policy sees: ``"real"``, ``"latent"`` or ``"decoded"`` observations; by default
            according to its ``observation_space``, ``"real"`` without one.
        horizon: steps of the longest prediction.
        deterministic: whether the policy acts deterministically.

    Raises:
        FileNotFoundError: there is no such file or name.
        ValueError: the model or the policy belongs to another environment.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        model: str | os.PathLike[str] | StoredWorldModel,
        policy: Any = None,
        *,
        observation: Seen | None = None,
        horizon: int = 15,
        deterministic: bool = True,
    ) -> None:
        if horizon < 1:
            raise ValueError(f"horizon must be at least 1, got {horizon}.")
        self.stored = model if isinstance(model, StoredWorldModel) else find_world_model(model)
        self._views = {
            kind: View(self.stored, kind, env.observation_space)
            for kind in ("latent", "decoded")
            if kind == "latent" or self.stored.decoded_space is not None
        }
        if env.action_space != self.stored.action_space:
            raise ValueError(
                f"The world model takes actions in {self.stored.action_space}, but the environment's are in "
                f"{env.action_space}."
            )
        self.observation = self._seen_by(policy, env) if observation is None else observation
        if self.observation not in ("real", *self._views):
            allowed = ", ".join(map(repr, ("real", *self._views)))
            raise ValueError(f"observation must be one of {allowed}, got {self.observation!r}.")
        self.env, self.policy, self.horizon, self.deterministic = env, policy, horizon, deterministic

    def _seen_by(self, policy: Any, env: gymnasium.Env[Any, Any]) -> str:
        space = getattr(policy, "observation_space", None)
        if space is None or space == env.observation_space or space == self.stored.observation_space:
            return "real"
        for kind, view in self._views.items():
            if space == view.space:
                return kind
        raise ValueError(
            f"The policy sees {space}, which is neither the environment's {env.observation_space} nor what a dream of "
            f"this model shows: {', '.join(str(view.space) for view in self._views.values())}."
        )

    def run(self, n_episodes: int = 20, seed: int = 0) -> DreamReport:
        """Play real episodes, predict along them, and play as many dreams.

        Args:
            n_episodes: whole episodes in each world.
            seed: of the environment, uniform actions and dreams.
        """
        if n_episodes < 1:
            raise ValueError(f"n_episodes must be at least 1, got {n_episodes}.")
        self.env.action_space.seed(seed)
        steps = self._play(n_episodes, seed)
        episode = np.cumsum(~steps.valid) - 1
        dream_return, dream_cost = self._dream(steps, n_episodes, seed)
        reward, cost, termination = self._calibrate(steps)
        return DreamReport(
            n_steps=int(steps.valid.sum()),
            errors={
                name: np.asarray(values, np.float64).round(6).tolist()
                for name, values in self._errors(steps)._asdict().items()
            },
            reward=reward,
            cost=cost,
            termination=termination,
            real_return=np.bincount(episode, steps.reward).tolist(),
            real_cost=np.bincount(episode, steps.cost).tolist(),
            dream_return=dream_return,
            dream_cost=dream_cost,
        )

    def _play(self, n_episodes: int, seed: int) -> Slot:
        """Real episodes, one after the other, in NumPy; the first slot of each holds the reset."""
        rows: list[tuple[Any, ...]] = []
        nothing = np.zeros_like(self._indexed(self.env.action_space.sample()))
        for i in range(n_episodes):
            obs, _ = self.env.reset(seed=seed + i)
            rows.append((obs, nothing, 0.0, 0.0, False, False, False))
            state, start, ended = None, True, False
            while not ended:
                shown = obs if self.observation == "real" else self._views[self.observation].one(obs)
                action, state = self._decide(self.env.action_space, shown, state, np.asarray([start]))
                obs, reward, terminated, truncated, info = self.env.step(action)
                cost = float(info.get(COST_KEY, 0.0))
                rows.append((obs, self._indexed(action), float(reward), cost, terminated, truncated, True))
                start, ended = False, terminated or truncated
        columns = list(zip(*rows, strict=True))
        obs = jax.tree.map(lambda *x: np.stack(x), *columns[0])
        seen = to_device(self.stored.observation_space, self._views["latent"].turned(obs))
        actions: Any = np.stack(columns[1])
        rest: list[Any] = [np.asarray(x, np.float32 if i < 2 else bool) for i, x in enumerate(columns[2:])]
        return Slot(seen, actions, *rest)

    def _indexed(self, action: Any) -> NDArray[Any]:
        return np.asarray(from_action(self.env.action_space, np.asarray(action)))

    def _decide(
        self, actions: spaces.Space[Any], obs: Observation, state: Any, starts: NDArray[np.bool_]
    ) -> tuple[Any, Any]:
        if self.policy is None:
            return actions.sample(), None
        return self.policy.predict(  # type: ignore[no-any-return]
            obs, state=state, episode_start=starts, deterministic=self.deterministic
        )

    def _windows(self, steps: Slot, horizon: int) -> Windows:
        """Every window of consecutive slots, time first; what crosses an episode's end is not ``valid``."""
        actions = self.stored.fitted.actions
        slots = steps._replace(action=stored_action(actions, jnp.asarray(steps.action)))
        count = len(steps.valid) - horizon
        place = np.arange(horizon + 1)[:, None] + np.arange(max(count, 1))[None]
        place = np.minimum(place, len(steps.valid) - 1)
        return windows(jax.tree.map(lambda x: jnp.asarray(x)[place], slots))

    def _errors(self, steps: Slot) -> OpenLoop:
        fitted = self.stored.fitted
        horizon = min(self.horizon, len(steps.valid) - 1)
        along = self._windows(steps, horizon)
        measure = jax.jit(lambda params, x: open_loop(fitted.model, params, fitted.actions, x))
        return measure(fitted.params, along)  # type: ignore[no-any-return]

    def _calibrate(self, steps: Slot) -> tuple[Calibration, Calibration | None, Calibration | None]:
        fitted, spec = self.stored.fitted, self.stored.fitted.model.spec
        one = self._windows(steps, 1)
        first_obs = jax.tree.map(lambda x: x[0], one.obs)

        @jax.jit
        def predict(params: Any) -> Any:
            z = fitted.model.encode(params, first_obs)
            return fitted.model.step(params, z, restored_action(fitted.actions, one.action[0]), None)

        step, real = predict(fitted.params), np.asarray(one.valid[0])
        cost = termination = None
        if spec.n_costs:
            cost = _calibration(np.mean(step.cost, axis=0)[real], np.asarray(one.cost[0])[real])
        if spec.has_termination:
            ended = np.asarray(one.terminated[0], np.float64)[real]
            termination = _calibration(np.asarray(step.terminated)[real], ended)
        return _calibration(np.asarray(step.reward)[real], np.asarray(one.reward[0])[real]), cost, termination

    def _dream(
        self, steps: Slot, n_episodes: int, seed: int
    ) -> tuple[list[float] | None, list[float] | None]:
        shown = "latent" if self.observation == "latent" or self.policy is None else "decoded"
        if shown == "decoded" and self.stored.fitted.model.decode is None:
            return None, None
        fitted = self.stored.fitted
        beginnings = jax.tree.map(lambda x: x[~steps.valid], steps.obs)
        starts = np.asarray(jax.jit(fitted.model.encode)(fitted.params, beginnings))
        stored = self.stored._replace(starts=starts, first=np.ones(len(starts), bool))
        longest = int(np.diff(np.append(np.flatnonzero(~steps.valid), len(steps.valid))).max()) - 1
        env = DreamVectorEnv.from_model(
            n_episodes,
            stored,
            horizon=max(longest, 1),
            observation=shown,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        env.action_space.seed(seed)
        obs, _ = env.reset(seed=seed)
        running, state, starts = np.ones(n_episodes, bool), None, np.ones(n_episodes, bool)
        total, cost = np.zeros(n_episodes), np.zeros(n_episodes)
        while running.any():
            action, state = self._decide(env.action_space, obs, state, starts)
            obs, reward, terminated, truncated, infos = env.step(action)
            total += np.where(running, reward, 0.0)
            cost += np.where(running, infos[COST_KEY], 0.0)
            ended = terminated | truncated
            running, starts = running & ~ended, ended
            if ended.any() and running.any():
                obs, _ = env.reset(options={"reset_mask": ended})
        return total.tolist(), cost.tolist()


def _calibration(predicted: NDArray[Any], observed: NDArray[Any]) -> Calibration:
    """Calibration in bins of about the same number of steps; equal predictions share a bin."""
    edges = np.unique(np.quantile(predicted, np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    bins = np.digitize(predicted, edges)
    rows = [(predicted[bins == i], observed[bins == i]) for i in np.unique(bins)]
    return Calibration(
        predicted=[float(p.mean()) for p, _ in rows],
        observed=[float(o.mean()) for _, o in rows],
        size=[len(p) for p, _ in rows],
    )
