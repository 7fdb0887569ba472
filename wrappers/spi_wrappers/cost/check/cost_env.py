"""``check_cost_env``: everything that is wrong with the costs of an environment, at once."""

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
    """Run a single or vector environment and report what is wrong with its costs.

    It checks that ``info["cost"]`` is a float at every step, never NaN, infinite or negative, and 0.0 at resets;
    that ``info["cost_terms"]`` add up to it, or it is the largest of them; that ``info["episode"]["c"]`` is the sum
    over the episode; and that the order of the wrappers makes sense. In vector environments it also checks shapes,
    ``_cost`` masks, rows that are reset instead of stepped, and ``infos["final_info"]`` and ``infos["final_obs"]``
    under ``SAME_STEP``. ``gymnasium.utils.env_checker.check_env`` checks everything else.

    Args:
        env: a Gymnasium ``Env`` or ``VectorEnv``. It is reset and stepped, but not closed.
        steps: number of calls of ``step``, at least 1; enough for some episodes to end.
        seed: of the first reset and of the random actions.
        policy: maps observations to actions; by default actions are random.
        raise_errors: raise if there are errors; otherwise they are only in the report.

    Returns:
        The report; print it.

    Raises:
        CostEnvError: there are errors, and ``raise_errors`` is true.
        TypeError: ``env`` is not a Gymnasium environment.
    """
    whole("steps", steps, at_least=1)
    boolean("raise_errors", raise_errors)
    # Vector environments first: EnvPool's are both.
    if not isinstance(env, VectorEnv | gym.Env):
        raise TypeError(
            f"env must be a gymnasium.Env or gymnasium.vector.VectorEnv, got {type(env).__name__}. For a VecEnv of "
            "Stable-Baselines3, check the environments that it consists of."
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
    """The wrappers by name, because EnvPool's own description fills a paragraph."""
    names = [type(layer).__name__ for layer in layers(env)]
    name = getattr(getattr(env, "spec", None), "id", None)
    return "(".join(names) + ")" * (len(names) - 1) + (f" [{name}]" if name else "")


def _look_back(report: CostReport, steps: int) -> None:
    if report.errors:
        return
    if not report.episode_costs:
        report.warn(
            "no end",
            f"No episode ended in {steps} calls of step(), so the ends of episodes were not checked. Pass more steps, "
            "or give the environment a TimeLimit.",
        )
    if report.total_cost == 0:
        report.warn(
            "all zero",
            "The cost was 0 at every step. Are threshold and key right, and can the actions exceed the threshold?",
        )
