"""SAC-Lagrangian: SB3's SAC on ``r - λ c``.

The replay buffer keeps each reward with the λ in force when it was collected, so λ should change slowly, and the
buffer should not reach further back than that.

python examples/safe_baselines/sac_lagrangian.py
"""

from recipe import evaluate, make_env, parser
from stable_baselines3 import SAC

from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env
from spi_wrappers.vector import LagrangianReward


def main() -> None:
    args = parser(__doc__, timesteps=200_000, n_envs=8).parse_args()
    env = LagrangianReward(make_env(args), args.cost_limit, lr=0.005)
    model = SAC(
        "MlpPolicy", as_vec_env(env), buffer_size=50_000, batch_size=256, gamma=0.98, seed=0, verbose=1
    )
    model.learn(args.timesteps, callback=CostLogCallback(args.cost_limit))
    evaluate(model, args, multiplier=env.multiplier.value)


if __name__ == "__main__":
    main()
