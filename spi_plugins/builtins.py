"""What this package offers, registered through the same hooks as any plugin's."""

import importlib
from collections.abc import Mapping

from spi_plugins.hookspecs import Register, RegisterEnv, RegisterWrapper, hookimpl

#: Old names and their replacements by kind; the old ones still work, with a warning.
RENAMED: Mapping[str, Mapping[str, str]] = {"world_models": {"deep_spi": "deep_mdp"}}

_WRAPPERS = {
    "ActionRepeat": "Repeat each action; sum reward and cost",
    "ClipCost": "Clip costs to bounds",
    "CostFromFn": "Compute the cost from the transition",
    "CostFromInfo": "Read the cost from another key of info",
    "CostLimit": "End episodes whose total cost exceeds a limit",
    "CostMonitor": "Record each episode's cost, cost rate and violations",
    "CostPenalty": "Subtract the cost from the reward at a fixed price",
    "CostToTermination": "End episodes at a step whose cost is too high",
    "DelayCost": "Report costs late",
    "LagrangianReward": "Subtract the cost at a learned price (gradient ascent or PID)",
    "MultiCost": "Several named costs, each with a limit",
    "NormalizeCost": "Scale costs by the deviation of their discounted sums",
    "SauteBudget": "Add the remaining budget to the observation",
    "VelocityCost": "A cost of 1 above a speed, as in the Safety-Velocity tasks",
}

_SAFE_BASELINES = {
    "ppo_saute": ("PPOSaute", "Sauté PPO: the remaining cost budget is observed"),
    "ppo_early": ("PPOEarly", "PPO on episodes that end once their cost exceeds a limit"),
}


_PLANNERS = {
    "ccem": "Constrained cross-entropy method: the best plans below a fixed cost",
    "cem": "Cross-entropy method: a Gaussian refitted to the best plans",
    "icem": "Cross-entropy method with colored noise and elites that are kept",
    "mppi": "TD-MPC2's planner: plans weighted by their return; ignores costs",
    "policy": "No planning: the world model's policy",
    "safe_improvement": "SPOWL's planner: no worse than the policy in return and in cost",
}

_CONSTRAINTS = {
    "lagrangian": "Lagrange multipliers by gradient ascent, as in PPO-Lagrangian",
    "pid": "Lagrange multipliers by a PID controller",
    "augmented": "SPOWL's augmented Lagrangian",
    "p3o": "An exact penalty on the clipped surrogate of the cost",
    "focops": "First-order steps with a KL penalty in place of the clip",
    "cpo": "A trust-region step along the border of the constraint",
    "crpo": "Steps on the reward, or on the cost while it is above its limit",
}

# Name, target and summary.
_ALGORITHMS = (
    (
        "deep_spi",
        "deep_spi:DeepSPI",
        "Deep SPI: PPO with the world-model losses inside the clipped objective",
    ),
    ("deep_mdp", "deep_spi:DeepMDP", "DeepMDP on PPO: the same world-model losses outside the clip"),
    ("ppo", "deep_spi:PPO", "PPO on the same core, without a world model"),
    ("ppo_lag", "deep_spi:PPOLag", "PPO-Lagrangian: costs, which have a critic, at a learned price"),
    ("ppo_pid", "deep_spi:PPOPID", "PPO-Lagrangian with a PID controller for the price"),
    ("dream_spi", "dream_spi:DreamSPI", "Model-based Deep SPI: actor and critic learn in dreams"),
    ("spowl", "spowl:SPOWL", "SPOWL: a safe policy and safe plans in a learned latent world"),
    ("tdmpc2", "spowl:TDMPC2", "TD-MPC2: plans in the same world model; ignores costs"),
)
_WORLD_MODELS = (
    ("ensemble", "ensemble:make_ensemble_world", "Ensemble of latent models with termination and a decoder"),
    ("deep_mdp", "deep_mdp:make_deep_mdp_world", "The latent model that DeepSPI and DeepMDP learn"),
    (
        "tdmpc",
        "tdmpc:make_tdmpc_world",
        "Implicit model with costs, critics and a policy, as in SPOWL and TD-MPC2",
    ),
)
_CALLBACKS = (
    ("cost_log", "CostLogCallback", "Log the mean cost of episodes, its rate, and violations of a limit"),
    ("stop_on_cost", "StopOnCost", "Stop once recent episodes cost more than a limit"),
)
_COMMANDS = (
    ("demo", "demo:configure", "Learn from pixels in two minutes, draw the curve and a video"),
    ("train", "train:configure", "Train an algorithm, or continue a run"),
    ("eval", "evaluate:configure", "Evaluate a saved model"),
    ("certify", "certify:configure", "Say what is guaranteed of an update, what is only measured, and why"),
    (
        "calibrate",
        "calibrate:configure",
        "Measure whether SPOWL's world model knows the costs of its actions",
    ),
    ("enjoy", "enjoy:configure", "Watch a run's policy at play, with rl_zoo3's options"),
    ("video", "video:configure", "Record a policy, and the dream of its world model next to it"),
    ("export", "export:configure", "Write a policy as ONNX or jax.export, to run it without this package"),
    ("plot", "comparison.commands:configure_plot", "Draw learning curves of runs over seeds"),
    ("compare", "comparison.commands:configure_compare", "Compare runs: table, picture, intervals"),
    ("report", "comparison.commands:configure_report", "Write a comparison of runs as one HTML page"),
    ("benchmark", "benchmark.command:configure", "Run the papers' benchmarks, or parts of them"),
    ("sweep", "jobs.sweep:configure", "Train all runs that a file asks for, and report on them"),
    ("tune", "tune.command:configure", "Search for hyperparameters with Optuna"),
    ("dream", "dream:configure", "Fit, register and check dreams"),
    ("hub", "hub:configure", "Share runs on the Hugging Face Hub"),
    ("zoo", "zoo:configure", "Run rl_zoo3's train, enjoy and so on with these algorithms"),
    ("new-plugin", "new_plugin:configure", "Write a plugin package with a working planner"),
    ("list", "listing:configure_list", "List algorithms, environments, planners and so on"),
    ("plugins", "listing:configure_plugins", "Show the installed plugins and their status"),
    ("doctor", "doctor:configure", "Show what is installed, what is missing, and what mends it"),
)


@hookimpl
def register_algorithms(register: Register) -> None:
    """Deep SPI and SPOWL with their ablations, and safe baselines."""
    for name, target, summary in _ALGORITHMS:
        register(name, f"spi_plugins.algorithms.{target}", summary=summary)
    for name, (target, summary) in _SAFE_BASELINES.items():
        register(name, f"spi_integrations.stable_baselines3.safe_ppo:{target}", summary=summary)


@hookimpl
def register_planners(register: Register) -> None:
    """Planners in learned world models."""
    for name, summary in _PLANNERS.items():
        register(name, f"spi_plugins.planners.{name}:make_{name}", summary=summary)


@hookimpl
def register_constraints(register: Register) -> None:
    """Methods that keep costs below limits."""
    for name, summary in _CONSTRAINTS.items():
        register(name, f"spi_plugins.constraints.{name}:make_{name}", summary=summary)


@hookimpl
def register_world_models(register: Register) -> None:
    """World models that can be dreamed in, whether fitted alone or learned by an agent."""
    for name, target, summary in _WORLD_MODELS:
        register(name, f"spi_plugins.fitting.{target}", summary=summary)


@hookimpl
def register_envs(register: RegisterEnv) -> None:
    """The environments written in JAX, the Safety-Velocity tasks on MuJoCo, and those of other packages."""
    tasks = importlib.import_module("spi_integrations.tasks")
    for name, (module, summary) in tasks.FUNCTIONAL.items():
        register(name, f"spi_plugins.envs.{module}:make_{module}", summary=summary)
    for robot, factory in tasks.VELOCITY_ROBOTS.items():
        register(
            f"spi/Velocity{robot}-v0",
            f"spi_wrappers.cost.velocity_envs:{factory}",
            summary=f"MuJoCo's {robot}, with a cost above a speed",
        )
    register(
        "envpool",
        "spi_integrations.envpool:make_vec",
        family=True,
        summary="Atari and others, batched in C++",
    )
    for family, (summary, _ids) in tasks.JAX_FAMILIES.items():
        register(
            family,
            f"spi_integrations.{family}:make_functional",
            family=True,
            functional=True,
            summary=summary,
        )


@hookimpl
def register_wrappers(register: RegisterWrapper) -> None:
    """The cost wrappers, under their class names in snake case, and the dream's view of a real environment."""
    for cls, summary in _WRAPPERS.items():
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in cls).lstrip("_")
        register(name, f"spi_wrappers:{cls}", vector=f"spi_wrappers.vector:{cls}", summary=summary)
    register(
        "latent_observation",
        "spi_wrappers.dream:LatentObservation",
        vector="spi_wrappers.dream:LatentVectorObservation",
        summary="Show the real environment as a dream of it would",
    )


@hookimpl
def register_callbacks(register: Register) -> None:
    """Callbacks that watch costs."""
    for name, cls, summary in _CALLBACKS:
        register(name, f"spi_integrations.stable_baselines3.callbacks:{cls}", summary=summary)


@hookimpl
def register_commands(register: Register) -> None:
    """The subcommands of ``spi``."""
    for name, target, summary in _COMMANDS:
        register(name, f"spi_plugins.cli.{target}", summary=summary)
