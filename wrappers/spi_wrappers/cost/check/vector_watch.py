"""Checks the costs of a vector environment at each reset and step, in any autoreset mode."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from spi_wrappers.cost.accounts.account import COST_KEY, Bools, Floats
from spi_wrappers.cost.accounts.infos import Infos, VectorInfo, mask_of
from spi_wrappers.cost.check.watch import MAKE_ONE, RAW_COST_KEY, TERMS_KEY, Watch, kind_of


class VectorWatch(Watch):
    """Watches a vector environment."""

    env: VectorEnv[Any, Any, Any]

    def reset(self, seed: int | None = None) -> bool:
        """Reset the environment; whether it can be stepped."""
        self._size = self.env.num_envs
        self._mode = self.env.metadata.get("autoreset_mode")
        if not isinstance(self._mode, AutoresetMode):
            text = (
                f"metadata['autoreset_mode'] must be a gymnasium.vector.AutoresetMode, got {self._mode!r}: without it "
                "it is unknown which rows were reset"
            )
            self.report.error("mode", text)
            return False
        return super().reset(seed)

    def _begin(self, infos: Infos) -> None:
        self._totals, self._over = np.zeros(self._size), np.zeros(self._size, np.bool_)
        self._check_fresh(infos, np.ones(self._size, np.bool_), "at reset")

    def step(self, actions: Any) -> bool:
        """Step the environment; whether to continue."""
        result = self._step(actions)
        if result is None:
            return False
        reward, terminated, truncated, infos = result
        for name, flags in (("terminated", terminated), ("truncated", truncated)):
            if np.shape(flags) != (self._size,) or np.asarray(flags).dtype != np.bool_:
                text = f"{name} must be bool of shape ({self._size},), got {kind_of(flags)}"
                self._error("flags", text)
                return False
        live, ended = ~self._over, np.asarray(terminated | truncated)
        self.report.steps += int(live.sum())
        final = ended if self._mode is AutoresetMode.SAME_STEP and ended.any() else None
        if self._over.any():
            self._check_fresh(infos, self._over, "in rows that are reset and not stepped")
            self._check_zero(
                "reward", np.asarray(reward), self._over, "in rows that are reset and not stepped"
            )
        if final is not None and not self._check_final(infos, final):
            return False
        self._transitions(VectorInfo(infos, self._size, final), live, ended)
        self._over = ended if self._mode is AutoresetMode.NEXT_STEP else np.zeros_like(ended)
        if self._mode is AutoresetMode.DISABLED and ended.any():
            return self._reset_rows(ended)
        return True

    def _transitions(self, info: VectorInfo, live: Bools, ended: Bools) -> None:
        costs = self._costs(info, live, "missing", "at every step")
        if costs is None:
            return
        raw, there = info.read(RAW_COST_KEY)
        counted = costs if raw is None else np.where(there, raw, costs)
        self.report.total_cost += float(costs.sum())
        self._totals = np.where(live, self._totals + counted, 0.0)
        terms, there = info.read(TERMS_KEY)
        for row in np.flatnonzero(there & live).tolist() if isinstance(terms, Mapping) else ():
            self._check_terms(_row(terms, row), float(counted[row]), row)
        statistics, there = info.read("episode")
        for row in np.flatnonzero(ended).tolist():
            mine = _row(statistics, row) if isinstance(statistics, Mapping) and there[row] else None
            self._end(float(self._totals[row]), mine, row)
        self._totals = np.where(ended, 0.0, self._totals)

    def _costs(self, info: VectorInfo, rows: Bools, kind: str, when: str) -> Floats | None:
        """Costs of all rows, 0 where they are bad or not in ``rows``; ``None`` if they are not numbers."""
        values, there = info.read(COST_KEY)
        missing = np.flatnonzero(rows & ~there) if np.shape(there) == rows.shape else np.arange(self._size)
        if len(missing):
            text = (
                f"infos['cost'] is missing or masked by infos['_cost']; every row must have one {when}. If the "
                f"environment has none, {MAKE_ONE}"
            )
            self._error(kind, text, int(missing[0]))
        if values is None:
            return None
        costs = np.asarray(values)
        if costs.shape != rows.shape or costs.dtype.kind not in "fiub":
            text = f"infos['cost'] must be float64 of shape {rows.shape}, got {kind_of(costs)}"
            self._error("kind", text)
            return None
        if costs.dtype != np.float64:
            self.report.warn("float", f"infos['cost'] is {costs.dtype} instead of float64", self._where())
        good = rows & there & np.isfinite(costs) & (costs >= 0)
        for row in np.flatnonzero(rows & there & ~good):
            self._is_cost(float(costs[row]), int(row))
        return np.where(good, costs, 0.0)

    def _check_fresh(self, infos: Infos, rows: Bools, when: str) -> None:
        costs = self._costs(VectorInfo(infos, self._size), rows, f"missing {when}", when)
        if costs is not None:
            self._check_zero("infos['cost']", costs, rows, when)

    def _check_zero(self, what: str, values: Any, rows: Bools, when: str) -> None:
        for row in np.flatnonzero(rows & (values != 0)):
            text = f"{what} is {values[row]:g} {when} instead of 0: a reset is not a transition"
            self._error(f"{what} {when}", text, int(row))

    def _check_final(self, infos: Infos, ended: Bools) -> bool:
        final_info, observations = infos.get("final_info"), infos.get("final_obs")
        if not isinstance(final_info, dict) or COST_KEY not in final_info:
            text = (
                "infos['final_info']['cost'] is missing. Under SAME_STEP the cost of an episode's last step is "
                "there, and infos['cost'] is that of the reset"
            )
            self._error("final", text)
            return False
        rows = np.flatnonzero(ended & ~mask_of(final_info, COST_KEY, self._size))
        if len(rows):
            text = "infos['final_info']['cost'] is masked in a row whose episode ended"
            self._error("final mask", text, int(rows[0]))
        if observations is None or any(observations[row] is None for row in np.flatnonzero(ended)):
            text = "infos['final_obs'] is missing: agents cannot bootstrap from the true final observation"
            self._error("final_obs", text)
        self._check_fresh(infos, ended, "in rows that were reset")
        return True

    def _reset_rows(self, ended: Bools) -> bool:
        before = self.observation
        infos = self._reset(options={"reset_mask": ended.copy()})
        if infos is None:
            return False
        self._check_fresh(infos, ended, "in rows that were reset")
        rows = np.flatnonzero(~ended)
        if isinstance(before, np.ndarray) and not np.array_equal(
            before[rows], self.observation[rows], equal_nan=True
        ):
            text = "reset(options={'reset_mask': mask}) changed the observations of rows that it must leave alone"
            self._error("mask", text)
            return False
        return True


def _row(values: Mapping[str, Any], row: int) -> dict[str, Any]:
    """One row of a dictionary of arrays, without keys that the row lacks according to the masks."""
    mine = {}
    for name, value in values.items():
        mask = values.get(f"_{name}")
        if not (name.startswith("_") and name[1:] in values) and (mask is None or mask[row]):
            mine[name] = value[row] if isinstance(value, np.ndarray) else value
    return mine
