"""DreamSPI on CartPole, and the effect of each of its parts.

python benchmarks/dream_spi.py dream_spi dyna soft replay_ratio replay_vtrace --out docs/results
python benchmarks/dream_spi.py smooth_l1 not_residual short official --out docs/results
"""

import functools
from typing import Any

from learning import Outcome, Task, command_line, draw, functional_env, keeper, run, sweep
from stable_baselines3.common.utils import LinearSchedule

RATE = LinearSchedule(1e-3, 0.0, 1.0)
RATES = ("encoder_learning_rate", "world_model_learning_rate", "actor_learning_rate", "critic_learning_rate")
# The published settings are for Atari. Here the latent has 64 numbers instead of 3136, and model errors as small as the
# change of the state in one step matter, so the coefficients are much larger.
ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(RATES, RATE),
    "n_steps": 32,
    "batch_size": 256,
    "n_epochs": 8,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "ent_coef": 0.0,
    "clip_range": 0.2,
    "wm_clip_range": 0.2,
    "imagination_horizon": 16,
    "transition_density": "deterministic",
    "lipschitz": False,
    "reward_loss_coef": 1.0,
    "transition_loss_coef": 100.0,
    "world_model_kwargs": {"residual": True},
    "policy_kwargs": {"net_arch": [64], "latent_arch": [64]},
}
# What each method changes.
METHODS: dict[str, dict[str, Any]] = {
    "dream_spi": {},
    "dyna": {"dyna": True},
    "soft": {"soft_termination": True},
    "replay_ratio": {"replay_size": 20_480, "replay_correction": "ratio"},
    "replay_vtrace": {"replay_size": 20_480},
    "smooth_l1": {"termination_loss": "smooth_l1"},
    "not_residual": {"world_model_kwargs": {}},
    "short": {"imagination_horizon": 8},
    "official": {"termination_loss": "smooth_l1", "world_model_kwargs": {}, "imagination_horizon": 8},
}
STEPS, BOUND, RANDOM = 150_000, 400.0, 22.0


def task(method: str) -> Task:
    """CartPole in JAX, 32 copies, on the compiled path."""
    arguments = {**ARGUMENTS, **METHODS[method]}
    make_env = functional_env("spi/CartPole-v0", 32)
    return Task("MlpPolicy", make_env, STEPS, arguments, BOUND, RANDOM, (method,))


def outcome(method: str, seed: int) -> Outcome:
    """Train one seed, evaluate it on 100 fresh episodes."""
    return run(task(method), "dream_spi", seed)._replace(algorithm=method)


def main() -> None:
    args = command_line(__doc__, METHODS, "dream_spi.png and dream_spi.json").parse_args()
    drawn = task("dream_spi")._replace(algorithms=("dream_spi", "dyna", "replay_vtrace"))
    keep = keeper(args.out, "dream_spi", functools.partial(draw, "spi/CartPole-v0", drawn))
    print("| method | seed | mean return, 100 episodes | CPU-s |\n|---|---|---|---|", flush=True)
    sweep(args.tasks, args.seeds, outcome, lambda out: f"{out.mean_return:.1f}", keep)


if __name__ == "__main__":
    main()
