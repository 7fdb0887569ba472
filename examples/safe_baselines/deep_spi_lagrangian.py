"""Constrained Deep SPI: the price of the cost is part of the reward, and so of the utility that Deep SPI clips.

With λ as the price, the utility is the advantage of ``r - λ c`` minus the losses of the world model, whose reward
head also learns ``r - λ c``. An action whose reward or cost the model predicts badly is therefore worth less.

python examples/safe_baselines/deep_spi_lagrangian.py
"""

from recipe import evaluate, make_env, parser

import spi_plugins
from spi_wrappers.vector import LagrangianReward


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--algorithm", choices=["deep_spi", "deep_mdp", "ppo"], default="deep_spi")
    args = options.parse_args()

    pid = {"kp": 0.03, "ki": 0.004, "kd": 0.0, "ema_p": 0.5}
    env = LagrangianReward(make_env(args), args.cost_limit, pid=pid)
    model = spi_plugins.make(
        args.algorithm, "MlpPolicy", env, n_steps=128, batch_size=32 * args.n_envs, n_epochs=10, gamma=0.98,
        learning_rate=1e-3, ent_coef=0.0, clip_range=0.2, seed=0, verbose=1,
    )  # fmt: skip
    model.learn(args.timesteps)  # logs rollout/ep_cost_mean without a callback
    evaluate(model, args, multiplier=env.multiplier.value)


if __name__ == "__main__":
    main()
