"""PPO, DeepMDP, DeepSPI and DreamSPI on Deep SPI's toy task, the confounding grid, evaluated exactly.

python benchmarks/confounding_grid.py default narrow_84 --out docs/results
python benchmarks/confounding_grid.py narrow --seeds 0 1 2 3 4 5 6 7 8 9 --out docs/results
python benchmarks/confounding_grid.py dyna dreams dreams_24 --out docs/results
"""

import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from learning import command_line, keeper, subplots, sweep, write
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

import spi_plugins
from spi_plugins.arrays import restore_arrays
from spi_plugins.envs.base import FunctionalEnv
from spi_plugins.envs.confounding_grid_exact import (
    all_observations,
    corridor_policy,
    exact_model,
    start_value,
)

METHODS = ("ppo", "deep_mdp", "deep_spi")
COLORS = {"ppo": "tab:blue", "deep_mdp": "tab:green", "deep_spi": "tab:orange", "dream_spi": "tab:red"}
UP = 0


class Task(NamedTuple):
    """A run: the arguments of the environment, of all methods, and of methods with a world model."""

    policy: str
    env: dict[str, Any]
    steps: int
    arguments: dict[str, Any]
    world_model: dict[str, Any]
    methods: tuple[str, ...] = METHODS


# The latent state is the actor's last hidden layer, two numbers. The critic does not shape it.
NARROW = {"learning_rate": 1e-3, "policy_kwargs": {"net_arch": {"pi": [64, 2], "vf": [64, 64]}}}
COEFFICIENTS = {"reward_loss_coef": 0.1, "transition_loss_coef": 0.02}
RATES = {
    "encoder_learning_rate": LinearSchedule(2e-4, 0.0, 1.0),
    **dict.fromkeys(
        ("world_model_learning_rate", "actor_learning_rate", "critic_learning_rate"),
        LinearSchedule(1e-3, 0.0, 1.0),
    ),
}
DREAMS = {
    **RATES,
    "clip_range": 0.2,
    "wm_clip_range": 0.2,
    "imagination_horizon": 16,
    "lipschitz": False,
    "reward_loss_coef": 10.0,
    "transition_loss_coef": 1.0,
    "policy_kwargs": {"net_arch": [64], "latent_arch": [64]},
}
# On pixels, with less weight on the model's losses, the two decisions merge in the latent space.
HEAVY = {"reward_loss_coef": 1000.0, "transition_loss_coef": 100.0}

TASKS = {
    # As published. That learning rate falls over ten million steps, so here it is nearly constant.
    "default": Task("CnnPolicy", {}, 32_000, {"learning_rate": 2.5e-4}, {}),
    "narrow": Task("MlpPolicy", {"size": 24}, 200_000, NARROW, COEFFICIENTS),
    "narrow_84": Task("MlpPolicy", {}, 200_000, NARROW, COEFFICIENTS),
    "dreams": Task("MlpPolicy", {"size": None}, 150_000, {}, DREAMS, ("dream_spi",)),
    "dyna": Task("MlpPolicy", {"size": None}, 150_000, {}, {**DREAMS, "dyna": True}, ("dream_spi",)),
    "dreams_24": Task("MlpPolicy", {"size": 24}, 200_000, {}, {**DREAMS, **HEAVY}, ("dream_spi",)),
}


class Point(NamedTuple):
    """The policy after so many steps. Values are discounted and exact."""

    steps: int
    value: float
    up_above: float  # probability of UP at the upper !
    up_below: float
    distance: float  # mean-square difference of the latent states at the two !
    spread: float  # its mean over all pairs of states


def make_judge(model: Any, env: FunctionalEnv) -> Callable[[], Point]:
    """Return a function that evaluates the current policy in every state of the grid."""
    tables, observations = exact_model(env), jnp.asarray(all_observations(env))
    policy = model.agent.policy
    shapes = jax.eval_shape(model.agent.init, jax.random.key(0)).params["policy"]

    @jax.jit
    def look(params: Any) -> tuple[jax.Array, jax.Array]:
        features = policy.features(params, observations)
        z = policy.latent(params, features)
        logits = policy.evaluate(params, observations, features, z).parameters
        return jax.nn.softmax(logits), z.reshape(z.shape[0], -1)

    def judge() -> Point:
        params = restore_arrays(shapes, model.get_parameters()["policy"], what="The policy's parameters")
        chances, z = (np.asarray(part, np.float64) for part in look(params))
        above, below = tables.decisions
        return Point(
            steps=model.num_timesteps,
            value=start_value(tables, chances),
            up_above=float(chances[above, UP]),
            up_below=float(chances[below, UP]),
            distance=float(np.mean((z[above] - z[below]) ** 2)),
            spread=float(np.mean((z[:, None] - z[None]) ** 2) * len(z) / (len(z) - 1)),
        )

    return judge


class Curve(BaseCallback):
    """One point per iteration."""

    def __init__(self, judge: Callable[[], Point]) -> None:
        super().__init__()
        self.judge = judge
        self.points = [judge()]

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self.points.append(self.judge())


class Outcome(NamedTuple):
    """The last point of a curve, and its points as tuples."""

    method: str
    seed: int
    value: float
    up_above: float
    up_below: float
    distance: float
    spread: float
    cpu_seconds: float
    curve: list[tuple[float, ...]]


def run(task: Task, method: str, seed: int, steps: int | None = None) -> Outcome:
    """Train one seed."""
    cpu = time.process_time()
    env = spi_plugins.make_env("spi/ConfoundingGrid-v0", **task.env)
    # The numbers of Atari, which every policy had by default when docs/results was recorded.
    declared = spi_plugins.get_algorithm(method).hyperparameters.items()
    published = {name: each.by_policy.cnn for name, each in declared if each.by_policy is not None}
    published |= {"n_steps": 8, "batch_size": 256}  # what their rules say for 128 copies
    arguments = {**published, **task.arguments, **({} if method == "ppo" else task.world_model)}
    model = spi_plugins.make(method, task.policy, env, seed=seed, **arguments)
    curve = Curve(make_judge(model, env))
    model.learn(steps or task.steps, callback=curve)
    *_, last = curve.points
    return Outcome(method, seed, *last[1:], time.process_time() - cpu, [tuple(p) for p in curve.points])


def draw(name: str, task: Task, outcomes: list[Outcome], path: pathlib.Path) -> None:
    tables = exact_model(spi_plugins.make_env("spi/ConfoundingGrid-v0", **task.env))
    figure, panels = subplots(1, 2, figsize=(10, 3.8))
    for method, color in COLORS.items():
        for i, outcome in enumerate(o for o in outcomes if o.method == method):
            steps, value, _, _, distance, _ = np.asarray(outcome.curve).T
            for axes, values in zip(panels, (value, distance), strict=True):
                axes.plot(
                    steps / 1000,
                    values,
                    color=color,
                    alpha=0.6,
                    linewidth=1,
                    label=method if i == 0 else None,
                )
    for up, label in ((1.0, "best"), (0.0, "RIGHT everywhere")):
        value = start_value(tables, corridor_policy(tables, up))
        panels[0].axhline(value, color="grey", linestyle="--", linewidth=1)
        panels[0].annotate(label, (0.0, value), color="grey", va="bottom", fontsize=8)
    panels[0].set(title=f"{name}: exact value of the start")
    panels[1].set(title="distance of the two ! in the latent space")
    for axes in panels:
        axes.set(xlabel="environment steps, thousands")
    panels[1].legend()
    write(figure, path)


def row(out: Outcome) -> str:
    """The columns of an outcome, between its seed and its CPU time."""
    return f"{out.value:.3f} | {out.up_above:.3f}, {out.up_below:.3f} | {out.distance:.3f} | {out.spread:.3f}"


def main() -> None:
    parser = command_line(__doc__, TASKS, "confounding_grid_NAME.png and .json")
    parser.add_argument("--methods", nargs="+", choices=COLORS, help="a subset of the task's")
    parser.add_argument("--steps", type=int, help="environment steps, instead of the task's")
    args = parser.parse_args()
    for name in args.tasks:
        task, stem = TASKS[name], f"confounding_grid_{name}"
        print(f"\n| {name} | seed | value | UP above, below | distance | spread | CPU-s |", flush=True)
        print("|---|---|---|---|---|---|---|", flush=True)
        start = functools.partial(run, task, steps=args.steps)
        keep = keeper(args.out, stem, functools.partial(draw, name, task))
        sweep(args.methods or task.methods, args.seeds, start, row, keep)


if __name__ == "__main__":
    main()
