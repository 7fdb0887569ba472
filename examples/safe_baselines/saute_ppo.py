"""Sauté PPO: the remaining budget is part of the observation, so the policy can keep every single episode within it.

python examples/safe_baselines/saute_ppo.py
"""

from recipe import evaluate, make_env, parser
from stable_baselines3 import PPO

from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env
from spi_wrappers.vector import SauteBudget


def main() -> None:
    args = parser(__doc__).parse_args()

    def with_budget() -> SauteBudget:
        return SauteBudget(make_env(args), budget=args.cost_limit, unsafe_reward=-0.2)

    model = PPO(
        "MlpPolicy", as_vec_env(with_budget()), n_steps=128, batch_size=32 * args.n_envs, gamma=0.98, seed=0,
        verbose=1,
    )  # fmt: skip
    model.learn(args.timesteps, callback=CostLogCallback(args.cost_limit))
    # The policy needs the budget in its observations. The returns reported are still the environment's own.
    evaluate(model, args, with_budget())


if __name__ == "__main__":
    main()
