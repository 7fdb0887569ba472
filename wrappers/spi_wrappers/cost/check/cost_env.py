"""``check_cost_env``: what is wrong with the costs of an environment, all at once and in words."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from spi_wrappers.cost.accounts.arguments import boolean, whole
from spi_wrappers.cost.accounts.order import layers, wrong_orders
from spi_wrappers.cost.check.report import CostEnvError, CostReport
from spi_wrappers.cost.check.vector_watch import VectorWatch
from spi_wrappers.cost.check.watch import SingleWatch


def check_cost_env(
    env: Any,
    *,
    steps: int = 500,
    seed: int = 0,
    policy: Callable[[Any], Any] | None = None,
    raise_errors: bool = True,
) -> CostReport:
    """Run an environment, single or vector, and say what is wrong with its costs.

    What is looked at: ``info["cost"]`` is a float at every step, never NaN, infinite or negative, and 0.0 at
    resets; ``info["cost_terms"]`` add up to it, or it is the largest of them; ``info["episode"]["c"]`` is the
    sum over the episode; wrappers stand in an order that makes sense. In vector environments also: shapes,
    ``_cost`` masks, rows that were reset in place of a step, and ``infos["final_info"]`` and
    ``infos["final_obs"]`` under ``SAME_STEP``. For everything else there is
    ``gymnasium.utils.env_checker.check_env``.

    Args:
        env: a Gymnasium ``Env`` or ``VectorEnv``. It is reset and stepped, and not closed.
        steps: number of calls of ``step``, at least 1; enough for some episodes to end.
        seed: of the first reset and of the random actions.
        policy: from observations to actions; random actions without.
        raise_errors: raise if there are errors; otherwise they are in the report only.

    Returns:
        The report; print it.

    Raises:
        CostEnvError: there are errors, and ``raise_errors``.
        TypeError: ``env`` is no Gymnasium environment, or an argument has the wrong type.
        ValueError: ``steps`` is below 1.
    """
    whole("steps", steps, at_least=1)
    boolean("raise_errors", raise_errors)
    # Vector environments first: EnvPool's are both.
    if not isinstance(env, VectorEnv | gym.Env):
        raise TypeError(
            f"env must be a gymnasium.Env or gymnasium.vector.VectorEnv, got {type(env).__name__}. For a VecEnv of "
            "Stable-Baselines3, check the environments that it is made of."
        )
    report = CostReport(_subject(env))
    for sentence in wrong_orders(env):
        report.error(sentence, f"Wrong order of wrappers: {sentence}.")
    watch: SingleWatch | VectorWatch
    if isinstance(env, VectorEnv):
        # EnvPool's action_space is that of one row.
        watch, actions = VectorWatch(env, report), batch_space(env.single_action_space, env.num_envs)
    else:
        watch, actions = SingleWatch(env, report), env.action_space
    actions.seed(seed)
    if watch.reset(seed):
        for _ in range(steps):
            if not watch.step(actions.sample() if policy is None else policy(watch.observation)):
                break
    _look_back(report, steps)
    if raise_errors and not report.ok:
        raise CostEnvError(report)
    return report


def _subject(env: Any) -> str:
    """The wrappers by name: EnvPool's own words for itself fill a paragraph."""
    names = [type(layer).__name__ for layer in layers(env)]
    name = getattr(getattr(env, "spec", None), "id", None)
    return "(".join(names) + ")" * (len(names) - 1) + (f" [{name}]" if name else "")


def _look_back(report: CostReport, steps: int) -> None:
    if report.errors:
        return
    if not report.episode_costs:
        report.warn(
            "no end",
            f"No episode ended in {steps} calls of step(), so what is to hold at its end was not seen. Ask for more "
            "steps, or give the environment a TimeLimit.",
        )
    if report.total_cost == 0:
        report.warn(
            "all zero",
            "The cost was 0 at every step. Is the threshold or the key right, and can the actions violate it?",
        )
