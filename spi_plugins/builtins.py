"""What is built in, registered through the same hooks as everybody else's."""

from collections.abc import Mapping

from spi_plugins.hookspecs import Register, RegisterEnv, RegisterWrapper, hookimpl

#: Names that were changed, by what they name: the old ones still work, with a warning.
RENAMED: Mapping[str, Mapping[str, str]] = {"world_models": {"deep_spi": "deep_mdp"}}

_WRAPPERS = {
    "ActionRepeat": "Each action several times; sums reward and cost",
    "ClipCost": "Costs within bounds",
    "CostFromFn": "A cost that a function of the transition computes",
    "CostFromInfo": "A cost out of another key of the info",
    "CostLimit": "End episodes that cost more than a limit",
    "CostMonitor": "The cost of each episode, its rate and violations",
    "CostPenalty": "Reward minus cost at a fixed price",
    "CostToTermination": "End episodes at a step that costs too much",
    "DelayCost": "Costs that are reported late",
    "LagrangianReward": "Reward minus cost at a price that is learned, by gradient ascent or PID",
    "MultiCost": "Several costs with names and limits",
    "NormalizeCost": "Costs scaled by the deviation of their discounted sums",
    "SauteBudget": "The budget that is left becomes part of the observation",
    "VelocityCost": "A cost of 1 above a speed, as in the Safety-Velocity tasks",
}

_ROBOTS = {
    "HalfCheetah": "half_cheetah",
    "Hopper": "hopper",
    "Walker2d": "walker2d",
    "Ant": "ant",
    "Humanoid": "humanoid",
    "Swimmer": "swimmer",
}

_SAFETY_ROBOTS = ("Point", "Car", "Doggo", "Racecar", "Ant")
_SAFETY_STEPS = {
    **dict.fromkeys(("Goal", "Button", "Push", "FadingEasy", "FadingHard"), 1000),
    **dict.fromkeys(("Circle", "Race"), 500),
}

_SAFE_BASELINES = {
    "ppo_lag": ("PPOLag", "PPO-Lagrangian: costs at a price that is learned"),
    "ppo_pid": ("PPOPID", "PPO-Lagrangian with a PID controller for the price"),
    "ppo_saute": ("PPOSaute", "Sauté PPO: the budget of costs that is left is observed"),
    "ppo_early": ("PPOEarly", "PPO on episodes that end above a limit on their cost"),
}


def safety_tasks() -> dict[str, int]:
    """safety-gymnasium's tasks and their time limits, as ``spi_wrappers.registration`` has them.

    Gymnasium knows them as ``spi/SafetyPointGoal1-v0`` and so on; they are too many for ``spi list envs``.
    """
    levels = {f"{task}{level}": steps for task, steps in _SAFETY_STEPS.items() for level in range(3)}
    levels["Run0"] = 500
    navigation = {
        f"Safety{robot}{task}{pictures}-v0": steps
        for pictures in ("", "Vision")
        for robot in _SAFETY_ROBOTS
        for task, steps in levels.items()
    }
    return navigation | {f"Safety{robot}Velocity-v{version}": 1000 for robot in _ROBOTS for version in (0, 1)}


_PLANNERS = {
    "ccem": "Constrained cross-entropy method: the best below a fixed cost",
    "cem": "Cross-entropy method: a Gaussian refitted to the best",
    "icem": "Cross-entropy method with colored noise and elites that are kept",
    "mppi": "TD-MPC2's planner: the best weigh by their return, costs unseen",
    "policy": "No planning: the world model's policy",
    "safe_improvement": "SPOWL's planner: no worse than the policy in return and in cost",
}


@hookimpl
def register_algorithms(register: Register) -> None:
    """Deep SPI and SPOWL with their ablations, and safe baselines."""
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
    register(
        "dream_spi",
        "spi_plugins.algorithms.dream_spi:DreamSPI",
        summary="Deep SPI's model-based variant: actor and critic learn in dreams",
    )
    register(
        "spowl",
        "spi_plugins.algorithms.spowl:SPOWL",
        summary="SPOWL: a safe policy and safe plans in a learned latent world",
    )
    register(
        "tdmpc2",
        "spi_plugins.algorithms.spowl:TDMPC2",
        summary="TD-MPC2: plans in the same world, costs aside",
    )
    for name, (target, summary) in _SAFE_BASELINES.items():
        register(name, f"spi_integrations.stable_baselines3.presets:{target}", summary=summary)


@hookimpl
def register_planners(register: Register) -> None:
    """Planners in learned world models."""
    for name, summary in _PLANNERS.items():
        register(name, f"spi_plugins.planners.{name}:make_{name}", summary=summary)


@hookimpl
def register_world_models(register: Register) -> None:
    """World models that dreams are made of; those of agents are stored by them."""
    register(
        "ensemble",
        "spi_plugins.fitting.ensemble:make_ensemble_world",
        summary="An ensemble of latent models with termination and a decoder, for any action",
    )
    register(
        "deep_mdp",
        "spi_plugins.fitting.deep_mdp:make_deep_mdp_world",
        summary="The latent model that DeepSPI and DeepMDP learn with their policy",
    )
    register(
        "tdmpc",
        "spi_plugins.fitting.tdmpc:make_tdmpc_world",
        summary="SPOWL's and TD-MPC2's implicit model with costs, critics and a policy",
    )


@hookimpl
def register_envs(register: RegisterEnv) -> None:
    """The environments written in JAX, the Safety-Velocity tasks on MuJoCo, and envpool's."""
    register("spi/CartPole-v0", "spi_plugins.envs.cartpole:make_cartpole", summary="CartPole in JAX")
    register(
        "spi/PixelGoal-v0", "spi_plugins.envs.pixel_goal:make_pixel_goal", summary="Reach a goal, from pixels"
    )
    for robot, factory in _ROBOTS.items():
        register(
            f"spi/Velocity{robot}-v0",
            f"spi_wrappers.cost.velocity_envs:{factory}",
            summary=f"{robot} of MuJoCo, with a cost above a speed",
        )
    register(
        "spi/CostCartPole-v0",
        "spi_plugins.envs.cost_cartpole:make_cost_cartpole",
        summary="CartPole with a cost far from the middle",
    )
    register(
        "spi/PointGoal-v0",
        "spi_plugins.envs.point_goal:make_point_goal",
        summary="Drive from goal to goal past hazards that cost",
    )
    register(
        "spi/ConfoundingGrid-v0",
        "spi_plugins.envs.confounding_grid:make_confounding_grid",
        summary="Two corridors that must be told apart, Deep SPI's toy task",
    )
    register(
        "envpool",
        "spi_integrations.envpool:make_vec",
        family=True,
        summary="Atari and others, batched in C++",
    )


@hookimpl
def register_wrappers(register: RegisterWrapper) -> None:
    """The cost wrappers, under the names of their classes in lower case, and the way back from dreams."""
    for cls, summary in _WRAPPERS.items():
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in cls).lstrip("_")
        register(name, f"spi_wrappers:{cls}", vector=f"spi_wrappers.vector:{cls}", summary=summary)
    register(
        "latent_observation",
        "spi_wrappers.dream:LatentObservation",
        vector="spi_wrappers.dream:LatentVectorObservation",
        summary="The real environment as a dream of it is seen",
    )


@hookimpl
def register_callbacks(register: Register) -> None:
    """Callbacks that watch costs."""
    register(
        "cost_log",
        "spi_integrations.stable_baselines3.callbacks:CostLogCallback",
        summary="Log the mean cost of episodes, its rate, and violations of a limit",
    )
    register(
        "stop_on_cost",
        "spi_integrations.stable_baselines3.callbacks:StopOnCost",
        summary="Stop once the last episodes cost more than a limit",
    )


@hookimpl
def register_commands(register: Register) -> None:
    """The subcommands of ``spi``."""
    register("train", "spi_plugins.cli.train:configure", summary="Train an algorithm, or go on with a run")
    register("eval", "spi_plugins.cli.evaluate:configure", summary="Evaluate a saved model")
    register("dream", "spi_plugins.cli.dream:configure", summary="Fit, register and check dreams")
    register(
        "new-plugin",
        "spi_plugins.cli.new_plugin:configure",
        summary="Write a package with a planner of one's own",
    )
    register(
        "list", "spi_plugins.cli.listing:configure_list", summary="List algorithms, environments and the like"
    )
    register(
        "plugins", "spi_plugins.cli.listing:configure_plugins", summary="Show the plugins and their state"
    )
