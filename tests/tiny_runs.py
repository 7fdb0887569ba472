"""Words of ``spi train`` for runs of a second."""

TINY = ("-p", "n_steps=4", "batch_size=4", "n_epochs=1", "policy_kwargs={'net_arch': [8]}")
COSTS = (
    "train",
    "ppo",
    "--env",
    "spi/CostCartPole-v0",
    "--n-envs",
    2,
    "--no-preset",
    *TINY,
    "--save-freq",
    0,
)
