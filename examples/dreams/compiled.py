"""Train inside a dream in one compiled program: to our own algorithms a dream is a functional environment.

python examples/dreams/compiled.py
"""

from recipe import evaluate, fit, parser

import spi_plugins


def main() -> None:
    defaults = {"real_steps": 20_000, "updates": 3_000, "dream_steps": 300_000, "n_envs": 64, "episodes": 20}
    args = parser(__doc__, **defaults).parse_args()

    world = fit(args)
    dream = spi_plugins.open_dream(world, horizon=50)
    agent = spi_plugins.PPO(
        "MlpPolicy", dream, n_envs=args.n_envs, n_steps=32, batch_size=512, learning_rate=1e-3, clip_range=0.2, seed=0
    )  # fmt: skip
    agent.learn(args.dream_steps)
    evaluate(agent, world, args)


if __name__ == "__main__":
    main()
