"""What is built in, registered through the same hooks as everybody else's."""

from spi_plugins.hookspecs import Register, RegisterEnv, hookimpl


@hookimpl
def register_algorithms(register: Register) -> None:
    """Deep SPI and its two ablations."""
    register(
        "deep_spi",
        "spi_plugins.algorithms.deep_spi:DeepSPI",
        summary="Deep SPI: PPO whose clipped objective contains the losses of its world model",
    )
    register(
        "deep_mdp",
        "spi_plugins.algorithms.deep_spi:DeepMDP",
        summary="PPO with the same world-model losses outside the clip",
    )
    register(
        "ppo", "spi_plugins.algorithms.deep_spi:PPO", summary="PPO on the same core, without a world model"
    )


@hookimpl
def register_world_models(register: Register) -> None:
    """Deep SPI's world model."""
    register(
        "deep_mdp",
        "spi_plugins.world_models.deep_mdp:make_deep_mdp",
        summary="Deep SPI's latent model: Lipschitz transition density and reward",
    )


@hookimpl
def register_envs(register: RegisterEnv) -> None:
    """The environments written in JAX, and envpool's."""
    register("spi/CartPole-v0", "spi_plugins.envs.cartpole:make_cartpole", summary="CartPole in JAX")
    register(
        "spi/PixelGoal-v0", "spi_plugins.envs.pixel_goal:make_pixel_goal", summary="Reach a goal, from pixels"
    )
    register(
        "envpool",
        "spi_integrations.envpool:make_vec",
        family=True,
        summary="Atari and others, batched in C++",
    )


@hookimpl
def register_commands(register: Register) -> None:
    """The subcommands of ``spi``."""
    register("train", "spi_plugins.cli.train:configure", summary="Train an algorithm, or go on with a run")
    register("eval", "spi_plugins.cli.evaluate:configure", summary="Evaluate a saved model")
    register(
        "list", "spi_plugins.cli.listing:configure_list", summary="List algorithms, environments and the like"
    )
    register(
        "plugins", "spi_plugins.cli.listing:configure_plugins", summary="Show the plugins and their state"
    )
