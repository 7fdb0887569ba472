"""PPO-Lagrangian with the PPO of three libraries; gradient ascent or a PID controller sets the multiplier.

python examples/safe_baselines/ppo_lagrangian.py --library sb3 --pid
"""

import importlib

from recipe import evaluate, make_env, parser

from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env
from spi_wrappers.vector import LagrangianReward

# All three have the same constructor. SBX is a separate install: pip install sbx-rl
LIBRARIES = {"sb3": "stable_baselines3", "sbx": "sbx", "spi": "spi_plugins"}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--library", choices=LIBRARIES, default="sb3")
    options.add_argument("--pid", action="store_true", help="a PID controller instead of gradient ascent")
    args = options.parse_args()

    how = {"pid": {"kp": 0.03, "ki": 0.004, "kd": 0.0, "ema_p": 0.5}} if args.pid else {"lr": 0.005}
    env = LagrangianReward(make_env(args), args.cost_limit, **how)
    PPO = importlib.import_module(LIBRARIES[args.library]).PPO
    shared = {"n_steps": 128, "batch_size": 32 * args.n_envs, "gamma": 0.98, "seed": 0, "verbose": 1}
    model = PPO("MlpPolicy", as_vec_env(env), **shared)
    model.learn(args.timesteps, callback=CostLogCallback(args.cost_limit))
    evaluate(model, args, multiplier=env.multiplier.value)


if __name__ == "__main__":
    main()
