"""The base class of cost wrappers of vector environments: the one place that knows autoreset modes."""

import copy
import math
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from spi_wrappers.cost.accounts import checks
from spi_wrappers.cost.accounts.account import (
    COST_KEY,
    AccountHolder,
    Bools,
    Entries,
    Floats,
    InfoRows,
    RestartOutcome,
    StepOutcome,
    StepRows,
)
from spi_wrappers.cost.accounts.batches import row_of, with_rows
from spi_wrappers.cost.accounts.features import extended, extended_rows, extended_space
from spi_wrappers.cost.accounts.infos import (
    FINAL_KEYS,
    Infos,
    VectorInfo,
    aligned,
    every_row,
    mask_of,
    overlaid,
    put,
)
from spi_wrappers.cost.accounts.order import refuse_wrong_order
from spi_wrappers.cost.accounts.rows import (
    HELD_KEY,
    Step,
    check_rows_can_be_reset,
    reset_rows,
    step_and_reset,
)


class LastStep(NamedTuple):
    """What the next wrapper outside need not compute again if it receives the same arrays.

    Attributes:
        terminated: as returned.
        truncated: as returned.
        ended: ``terminated | truncated``.
        ended_rows: indices of ``ended``.
        over: rows that this step reset (``NEXT_STEP``).
        live: rows that made a transition.
        shown: ``infos["cost"]``; ``None`` if ``cost`` was not checked.
        cost: ``[n]``, finite costs of the transitions: 0 in reset rows, the last step's where an episode ended.
    """

    terminated: Bools
    truncated: Bools
    ended: Bools
    ended_rows: NDArray[np.intp]
    over: Bools | None
    live: Bools
    shown: Floats | None
    cost: Floats


class CostVectorWrapper(VectorWrapper[Any, Any, Any, Any, Any], RecordConstructorArgs, AccountHolder):
    """A vector environment whose steps go through an account with one row for each copy.

    It equals a vector environment of wrapped single ones, in every autoreset mode:

    * ``NEXT_STEP``: the step after an episode's end is a reset of that row; its account restarts.
    * ``SAME_STEP``: entries of an episode's last step go to ``infos["final_info"]``, those of the new episode to
      ``infos``; ``infos["final_obs"]`` gets features like other observations.
    * ``DISABLED``: rows restart by ``reset(options={"reset_mask": mask})``; the other modes also accept a mask.

    Args:
        env: the vector environment.
        **kwargs: the wrapper's keyword arguments, recorded and passed to the account.

    Raises:
        ValueError: ``env`` does not declare its autoreset mode.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], **kwargs: Any) -> None:
        refuse_wrong_order(env, self._name)
        RecordConstructorArgs.__init__(self, **self.recorded(kwargs))
        VectorWrapper.__init__(self, env)
        self.autoreset_mode = env.metadata.get("autoreset_mode")
        if not isinstance(self.autoreset_mode, AutoresetMode):
            raise ValueError(
                f"{self._name} must know when rows are reset: metadata['autoreset_mode'] of {env} must be a "
                f"gymnasium.vector.AutoresetMode, got {self.autoreset_mode!r}."
            )
        self._size = env.num_envs
        self.account = self.build_account(self._size, kwargs)
        self._all = every_row(self._size)
        self._no_cost = np.zeros(self._size)
        self._same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        self._next_step = self.autoreset_mode is AutoresetMode.NEXT_STEP
        self._over: Bools | None = None  # NEXT_STEP: rows that the next step resets, if any
        self._forced: Bools | None = None  # those of them that the account ended
        if self.account.may_end and self.autoreset_mode is not AutoresetMode.DISABLED:
            check_rows_can_be_reset(env, self._name)
        self._observation: Any = None
        self.last_step: LastStep | None = None
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
            options=None if options is None else dict(options),  # environments pop the mask
        )
        rows = self._all if mask is None else np.asarray(mask)
        self._over, self._forced = _left(self._over, rows), _left(self._forced, rows)
        outcome = self.account.restart(rows, VectorInfo(infos, self._size))
        self._write(infos, outcome.info, rows)
        self.last_step = None
        if self.account.needs_observation:
            self._keep(observations)
        return extended(observations, outcome.feature, self.account.feature), infos

    def step(self, actions: Any) -> Step:
        """Step all rows and account for the transitions."""
        forced = self._forced
        step = self.step_inside(actions) if forced is None else step_and_reset(self.env, actions, forced)
        observations, reward, terminated, truncated, infos = step
        account, over = self.account, self._over
        ended, ended_rows, live, known = self._seen(terminated, truncated, infos)
        final = ended if self._same_step and len(ended_rows) else None
        info = VectorInfo(infos, self._size, final)
        restart = None if over is None else account.restart(over, info)
        cost = self._cost(info, infos, live, final) if known is None else known
        before, after = self._observation, None
        if account.needs_observation:
            after = self._reached(observations, infos, final, ended_rows)
        rows = StepRows(
            reward, terminated, truncated, cost, live, ended, ended_rows, info, actions, before, after
        )
        outcome = account.step(rows)
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
            features = self._write_ends(infos, outcome, ended, ended_rows)
        else:
            self._write_step(infos, outcome, live, restart)
            if len(ended_rows):
                for key, values in outcome.final.items():
                    put(infos, key, values, ended, self._size)
        shown, cost = self._checked(infos, cost, outcome, live)
        self.last_step = LastStep(terminated, truncated, ended, ended_rows, over, live, shown, cost)
        if self._next_step:
            self._over, self._forced = (ended if len(ended_rows) else None), forced
        if account.needs_observation:
            self._keep(observations)
        observations = extended(observations, features, account.feature)
        reward = reward if outcome.reward is None else outcome.reward
        return observations, reward, terminated, truncated, infos

    def step_inside(self, actions: Any) -> Step:
        """Step the wrapped environment."""
        return self.env.step(actions)

    def _seen(
        self, terminated: Bools, truncated: Bools, infos: Infos
    ) -> tuple[Bools, NDArray[np.intp], Bools, Floats | None]:
        """Rows that ended, their indices, live rows, and costs if the wrapper inside knows them."""
        inner: LastStep | None = getattr(self.env, "last_step", None)
        if inner is None or inner.terminated is not terminated or inner.truncated is not truncated:
            ended = terminated | truncated
            return ended, ended.nonzero()[0], self._live(infos), None
        if inner.over is not self._over:
            return inner.ended, inner.ended_rows, self._live(infos), None
        known = self.account.cost == "reads" and inner.shown is not None
        known = known and inner.shown is infos.get(COST_KEY)
        return inner.ended, inner.ended_rows, inner.live, inner.cost if known else None

    def _live(self, infos: Infos) -> Bools:
        """Rows that made a transition; ``self._all`` itself if all did."""
        live = self._all if self._over is None else ~self._over
        return live & ~mask_of(infos, HELD_KEY, self._size) if HELD_KEY in infos else live

    def _reached(
        self, observations: Any, infos: Infos, final: Bools | None, ended_rows: NDArray[np.intp]
    ) -> Any:
        """The observations that the transitions led to."""
        if final is None:
            return observations
        return with_rows(self.env.single_observation_space, observations, ended_rows, infos["final_obs"])

    def _reset_forced(self, observations: Any, infos: Infos, forced: Bools) -> tuple[Any, Infos]:
        """``SAME_STEP``: reset the rows that the account ended, as the environment does with its own."""
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
        there: Bools | None
        if final is None:
            cost, there = infos.get(COST_KEY), infos.get(f"_{COST_KEY}")
        else:
            cost, there = info.read(COST_KEY)
        if kind == "makes":
            if cost is not None and (there is None or np.count_nonzero(there & live)):
                raise checks.double_cost(self._name)
            return self._no_cost
        if cost is None and not np.count_nonzero(live):
            return self._no_cost
        if cost is None or (there is not None and np.count_nonzero(there | ~live) < self._size):
            raise checks.missing_cost(self._name, info.keys())
        return checks.read_vector_cost(cost, live, self._name)

    def _checked(
        self, infos: Infos, cost: Floats, outcome: StepOutcome, live: Bools
    ) -> tuple[Floats | None, Floats]:
        """``infos["cost"]`` if the next wrapper outside need not check it, and the costs."""
        shown, written = infos.get(COST_KEY), outcome.info.get(COST_KEY)
        if shown is None or HELD_KEY in infos:
            return None, cost
        if written is None:
            return (shown if self.account.cost == "reads" else None), cost
        if self.account.masks_itself:
            return shown, written
        if live is not self._all:
            written = np.where(live, written, 0.0)
        checked = written.dtype == np.float64 and math.isfinite(np.add.reduce(written))
        return (shown if checked else None), written

    def _write_step(
        self, infos: Infos, outcome: StepOutcome, live: Bools, restart: RestartOutcome | None
    ) -> None:
        """Write the entries of a step in which no row was reset after its transition."""
        if self.account.masks_itself and HELD_KEY not in infos:
            for key, values in outcome.info.items():
                infos[key], infos[f"_{key}"] = values, self._all.copy()
        elif restart is None or self._over is None:
            self._write(infos, outcome.info, None if live is self._all else live)
        else:
            self._write_rows(infos, outcome.info, live, restart.info, self._over)

    def _write(self, infos: Infos, entries: Entries, rows: Bools | None) -> None:
        if rows is not None and entries and not np.count_nonzero(rows):
            return  # Gymnasium has no key that no row has
        for key, values in entries.items():
            put(infos, key, values, rows, self._size)

    def _write_rows(self, infos: Infos, entries: Entries, rows: Bools, fresh: Entries, reset: Bools) -> None:
        """Write ``entries`` in rows that made a transition, ``fresh`` in rows that were reset."""
        both = HELD_KEY not in infos and np.count_nonzero(rows) > 0
        for key, values in fresh.items():
            ours = entries.get(key)
            if both and isinstance(ours, np.ndarray) and isinstance(values, np.ndarray):
                put(infos, key, np.where(aligned(rows, ours), ours, values), None, self._size)
            else:
                put(infos, key, values, reset, self._size)
                self._write(infos, {} if ours is None else {key: ours}, rows)
        self._write(infos, {key: value for key, value in entries.items() if key not in fresh}, rows)

    def _write_ends(
        self, infos: Infos, outcome: StepOutcome, final: Bools, ended_rows: NDArray[np.intp]
    ) -> Any:
        """``SAME_STEP``: write the last steps' entries to ``final_info``; return the new episodes' features."""
        final_info = dict(infos.get("final_info", {}))
        for key, values in (*outcome.info.items(), *outcome.final.items()):
            put(final_info, key, values, final, self._size)
        infos["final_info"], infos["_final_info"] = final_info, infos.get("_final_info", False) | final
        for key, values in outcome.final.items():
            if isinstance(values, dict) and isinstance(infos.get(key), dict):
                # of gymnasium.wrappers.vector.RecordEpisodeStatistics
                put(infos, key, values, final, self._size)
        if self.account.feature is not None and outcome.feature is not None:
            infos["final_obs"] = extended_rows(
                infos["final_obs"], outcome.feature, ended_rows, self.account.feature
            )
        restart = self.account.restart(final, VectorInfo(infos, self._size))
        self._write_rows(infos, outcome.info, ~final, restart.info, final)
        return restart.feature

    def _keep(self, observations: Any) -> None:
        """Remember a copy of where the next transition begins: some environments reuse their arrays."""
        plain = isinstance(observations, np.ndarray)
        self._observation = observations.copy() if plain else copy.deepcopy(observations)


def _some(rows: Bools) -> Bools | None:
    return rows if np.count_nonzero(rows) else None


def _left(rows: Bools | None, reset: Bools) -> Bools | None:
    return None if rows is None else _some(rows & ~reset)
