"""The base class of cost wrappers around vector environments: the one place that knows autoreset modes."""

import copy
from typing import Any, ClassVar

import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from spi_wrappers.cost import checks
from spi_wrappers.cost.account import (
    COST_KEY,
    Account,
    Bools,
    Entries,
    Floats,
    InfoRows,
    MakeAccount,
    RestartOutcome,
    StepOutcome,
    StepRows,
)
from spi_wrappers.cost.batches import row_of, with_rows
from spi_wrappers.cost.features import extended, extended_rows, extended_space
from spi_wrappers.cost.infos import FINAL_KEYS, Infos, VectorInfo, mask_of, overlaid, put
from spi_wrappers.cost.order import refuse_wrong_order
from spi_wrappers.cost.rows import HELD_KEY, Step, check_rows_can_be_reset, reset_rows, step_and_reset


class CostVectorWrapper(VectorWrapper[Any, Any, Any, Any, Any], RecordConstructorArgs):
    """A vector environment whose steps go through an account with one row for each copy.

    It equals a vector environment of wrapped single ones, in every autoreset mode:

    * ``NEXT_STEP``: the step after an episode's end is a reset of that row; its account restarts.
    * ``SAME_STEP``: what is written for an episode's last step goes to ``infos["final_info"]``, what belongs
      to the new episode to ``infos``; ``infos["final_obs"]`` gets features as observations do.
    * ``DISABLED``: rows restart by ``reset(options={"reset_mask": mask})``; other modes take a mask, too.

    Args:
        env: the vector environment.
        **kwargs: the wrapper's keyword arguments: recorded, and given to the account.

    Raises:
        TypeError: ``env`` is no ``gymnasium.vector.VectorEnv``.
        ValueError: it does not say its autoreset mode.

    Attributes:
        make_account: the account's class; set by the subclass.
    """

    make_account: ClassVar[MakeAccount]

    def __init__(self, env: VectorEnv[Any, Any, Any], **kwargs: Any) -> None:
        refuse_wrong_order(env, self._name)
        RecordConstructorArgs.__init__(self, **kwargs)
        VectorWrapper.__init__(self, env)
        self.autoreset_mode = read_mode(env, self._name)
        self._size = env.num_envs
        self.account: Account = self.build_account(self._size, kwargs)
        self._all = np.ones(self._size, np.bool_)
        self._no_cost = np.zeros(self._size)
        self._same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        self._next_step = self.autoreset_mode is AutoresetMode.NEXT_STEP
        self._over: Bools | None = None  # NEXT_STEP: rows that the next step resets, if any
        self._forced: Bools | None = None  # those of them that the environment did not end by itself
        if self.account.may_end and self.autoreset_mode is not AutoresetMode.DISABLED:
            check_rows_can_be_reset(env, self._name)
        self._observation: Any = None
        if self.account.feature is not None:
            space = extended_space(env.single_observation_space, self.account.feature, self._name)
            self.single_observation_space = space
            self.observation_space = batch_space(space, self._size)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Infos]:
        """Begin new episodes, in all rows or where ``options["reset_mask"]``, bool ``[n]``, is true."""
        mask = None if options is None else options.get("reset_mask")
        observations, infos = self.env.reset(
            seed=seed,  # type: ignore[arg-type]
            options=None if options is None else dict(options),  # environments take the mask out of it
        )
        rows = self._all if mask is None else np.asarray(mask)
        self._over, self._forced = _left(self._over, rows), _left(self._forced, rows)
        outcome = self._restart(rows, infos)
        self._keep(observations)
        return self._with_feature(observations, outcome.feature), infos

    def step(self, actions: Any) -> Step:
        """Step all rows, and account for the transitions."""
        if self._forced is None:
            observations, reward, terminated, truncated, infos = self.step_inside(actions)
        else:
            observations, reward, terminated, truncated, infos = step_and_reset(
                self.env, actions, self._forced
            )
        moved = self._moved(infos)
        ended = terminated | truncated
        ended_rows = ended.nonzero()[0]
        final = ended if self._same_step and len(ended_rows) else None
        info = VectorInfo(infos, self._size, final)
        live = self._all if moved is None else moved
        cost = self._cost(info, infos, live, final)
        rows = StepRows(reward, terminated, truncated, cost, live, ended, ended_rows, info)
        if self.account.needs_observation:
            after = observations
            if final is not None:
                after = with_rows(self.env.single_observation_space, after, ended_rows, infos["final_obs"])
            rows = rows._replace(action=actions, observation=self._observation, next_observation=after)
        outcome = self.account.step(rows)
        forced = None
        if outcome.terminated is not None or outcome.truncated is not None:
            terminated = terminated if outcome.terminated is None else outcome.terminated
            truncated = truncated if outcome.truncated is None else outcome.truncated
            forced = _some((terminated | truncated) & ~ended)
            if forced is not None:
                ended = ended | forced
                ended_rows = ended.nonzero()[0]
        features = outcome.feature
        if self._same_step and len(ended_rows):
            if forced is not None:
                observations, infos = self._reset_forced(observations, infos, forced)
            self._write_ends(infos, outcome, ended, ended_rows)
            features = self._restart(ended, infos).feature
        else:
            self._write(infos, outcome.info, moved)
            if len(ended_rows):
                self._write(infos, outcome.final, ended)
        if self._next_step:
            self._over, self._forced = (ended if len(ended_rows) else None), forced
        self._keep(observations)
        reward = reward if outcome.reward is None else outcome.reward
        return self._with_feature(observations, features), reward, terminated, truncated, infos

    def build_account(self, num_rows: int, kwargs: dict[str, Any]) -> Account:
        """Make the account from the wrapper's keyword arguments."""
        return type(self).make_account(num_rows, **kwargs)

    def step_inside(self, actions: Any) -> Step:
        """Step the wrapped environment."""
        return self.env.step(actions)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _moved(self, infos: Infos) -> Bools | None:
        """Rows that made a transition, ``None`` if all did; restarts the rows that were reset instead."""
        moved: Bools | None = None
        if self._over is not None:
            self._restart(self._over, infos)
            moved = ~self._over
        if HELD_KEY in infos:
            still = mask_of(infos, HELD_KEY, self._size)
            moved = ~still if moved is None else moved & ~still
        return moved

    def _reset_forced(self, observations: Any, infos: Infos, forced: Bools) -> tuple[Any, Infos]:
        """``SAME_STEP``: reset rows that the account ended, as the environment resets those that it ends."""
        ends = {key: infos[key] for key in FINAL_KEYS if key in infos}
        step_infos = {key: value for key, value in infos.items() if key not in ends}
        fresh, fresh_infos = reset_rows(self.env, forced)
        final_obs = ends.get("final_obs", np.full(self._size, None, dtype=object)).copy()
        for row in np.flatnonzero(forced).tolist():
            final_obs[row] = row_of(self.env.single_observation_space, observations, row)
        final = ends.get("_final_obs", False) | forced
        final_info = overlaid(ends.get("final_info", {}), step_infos, forced)
        infos = overlaid(step_infos, fresh_infos, forced)
        infos |= {
            "final_obs": final_obs,
            "_final_obs": final,
            "final_info": final_info,
            "_final_info": final.copy(),
        }
        return fresh, infos

    def _cost(self, info: InfoRows, infos: Infos, live: Bools, final: Bools | None) -> Floats:
        kind = self.account.cost
        if kind == "ignores":
            return self._no_cost
        cost, there = (
            info.read(COST_KEY) if final is not None else (infos.get(COST_KEY), infos.get(f"_{COST_KEY}"))
        )
        if kind == "makes":
            if cost is not None and (there is None or (there & live).any()):
                raise checks.double_cost(self._name)
            return self._no_cost
        if cost is None and not live.any():
            return self._no_cost
        if cost is None or (there is not None and not (there | ~live).all()):
            raise checks.missing_cost(self._name, info.keys())
        return checks.read_vector_cost(cost, live, self._name)

    def _restart(self, rows: Bools, infos: Infos) -> RestartOutcome:
        outcome = self.account.restart(rows, VectorInfo(infos, self._size))
        self._write(infos, outcome.info, rows)
        return outcome

    def _write(self, infos: Infos, entries: Entries, rows: Bools | None) -> None:
        if rows is not None and entries and not rows.any():
            return  # Gymnasium has no key that no row has
        for key, values in entries.items():
            put(infos, key, values, rows, self._size)

    def _write_ends(
        self, infos: Infos, outcome: StepOutcome, final: Bools, ended_rows: NDArray[np.intp]
    ) -> None:
        """``SAME_STEP``: the last steps' entries go to ``final_info``."""
        self._write(infos, outcome.info, ~final)
        final_info = dict(infos.get("final_info", {}))
        self._write(final_info, outcome.info, final)
        self._write(final_info, outcome.final, final)
        infos["final_info"], infos["_final_info"] = final_info, infos.get("_final_info", False) | final
        for key, values in outcome.final.items():
            if isinstance(values, dict) and isinstance(
                infos.get(key), dict
            ):  # vector.RecordEpisodeStatistics
                put(infos, key, values, final, self._size)
        if self.account.feature is not None and outcome.feature is not None:
            infos["final_obs"] = extended_rows(
                infos["final_obs"], outcome.feature, ended_rows, self.account.feature
            )

    def _keep(self, observations: Any) -> None:
        if self.account.needs_observation:  # a copy: some environments write into the one that they gave
            self._observation = copy.deepcopy(observations)

    def _with_feature(self, observations: Any, values: Any) -> Any:
        if self.account.feature is None:
            return observations
        return extended(observations, values, self.account.feature)


def _some(rows: Bools) -> Bools | None:
    return rows if rows.any() else None


def _left(rows: Bools | None, reset: Bools) -> Bools | None:
    return None if rows is None else _some(rows & ~reset)


def read_mode(env: VectorEnv[Any, Any, Any], wrapper: str) -> AutoresetMode:
    """The autoreset mode that a vector environment declares.

    Raises:
        ValueError: it declares none.
    """
    mode = env.metadata.get("autoreset_mode")
    if not isinstance(mode, AutoresetMode):
        raise ValueError(
            f"{wrapper} must know when rows are reset: metadata['autoreset_mode'] of {env} must be a "
            f"gymnasium.vector.AutoresetMode, got {mode!r}."
        )
    return mode
