"""Early-terminated PPO: an episode ends at the step that takes its cost over the limit.

python examples/safe_baselines/early_ppo.py
"""

from recipe import evaluate, make_env, parser
from stable_baselines3 import PPO

from spi_integrations.stable_baselines3 import CostLogCallback, as_vec_env
from spi_wrappers.vector import CostLimit


def main() -> None:
    args = parser(__doc__).parse_args()
    env = as_vec_env(CostLimit(make_env(args), args.cost_limit))
    model = PPO("MlpPolicy", env, n_steps=128, batch_size=32 * args.n_envs, gamma=0.98, seed=0, verbose=1)
    model.learn(args.timesteps, callback=CostLogCallback(args.cost_limit))
    evaluate(model, args)  # without the wrapper: what the policy costs when nothing stops it


if __name__ == "__main__":
    main()
