"""Fit a world model to random play, train a Stable-Baselines3 or sb3-contrib agent in its dream, and return to reality.

python examples/dreams/train_in_a_dream.py --agent PPO
python examples/dreams/train_in_a_dream.py --agent SAC --env Pendulum-v1
"""

import sb3_contrib
import stable_baselines3
from recipe import evaluate, fit, parser

from spi_integrations.stable_baselines3 import as_vec_env
from spi_wrappers import DreamVectorEnv

AGENTS = {
    **{name: getattr(stable_baselines3, name) for name in ("PPO", "A2C", "DQN", "SAC", "TD3")},
    **{name: getattr(sb3_contrib, name) for name in ("TRPO", "QRDQN", "RecurrentPPO", "TQC")},
}


def main() -> None:
    options = parser(
        __doc__, real_steps=20_000, updates=3_000, dream_steps=200_000, horizon=50, n_envs=16, episodes=20
    )
    options.add_argument("--agent", choices=AGENTS, default="PPO")
    args = options.parse_args()

    world = fit(args)
    dream = as_vec_env(DreamVectorEnv.from_model(args.n_envs, world, horizon=args.horizon))
    policy = "MlpLstmPolicy" if args.agent == "RecurrentPPO" else "MlpPolicy"
    agent = AGENTS[args.agent](policy, dream, seed=0, device="cpu").learn(args.dream_steps)
    evaluate(agent, world, args)


if __name__ == "__main__":
    main()
