"""TRPO-Lagrangian: sb3-contrib's TRPO on ``r - λ c``, with λ updated once per rollout.

python examples/safe_baselines/trpo_lagrangian.py
"""

from recipe import evaluate, make_env, parser
from sb3_contrib import TRPO

from spi_integrations.stable_baselines3 import CostLogCallback, LagrangianCallback, as_vec_env
from spi_wrappers.vector import LagrangianReward


def main() -> None:
    args = parser(__doc__).parse_args()
    env = LagrangianReward(make_env(args), args.cost_limit, lr=0.01)
    model = TRPO(
        "MlpPolicy", as_vec_env(env), n_steps=256, batch_size=32 * args.n_envs, gamma=0.98, seed=0, verbose=1
    )
    model.learn(args.timesteps, callback=[LagrangianCallback(), CostLogCallback(args.cost_limit)])
    evaluate(model, args, multiplier=env.multiplier.value)


if __name__ == "__main__":
    main()
