"""EnvPool: thousands of Atari frames per second, for Stable-Baselines3 and our algorithms.

>>> from spi_integrations.envpool import make_vec
>>> env = make_vec("Breakout-v5", num_envs=128)  # doctest: +SKIP
>>> DeepSPI("CnnPolicy", env).learn(10_000_000)  # doctest: +SKIP

EnvPool is an extra: ``pip install "spi-plugins[envpool]"`` (Linux). It includes the Atari ROMs.
"""

from typing import Any

from spi_plugins.algorithms.vec_envs import EnvPoolHalves, EnvPoolVecEnv
from spi_plugins.errors import MissingDependencyError
from spi_plugins.plugins import did_you_mean

# The Atari settings of the paper's implementation, except its two switches. The limit is in agent steps.
_ATARI = {
    "frame_skip": 4,
    "stack_num": 4,
    "gray_scale": True,
    "img_height": 84,
    "img_width": 84,
    "max_episode_steps": 108_000,
}
_DETERMINISTIC = {"repeat_action_probability": 0.0, "noop_max": 30}
_STOCHASTIC = {"repeat_action_probability": 0.3, "noop_max": 60}

# Arguments of envpool.make itself, which are not in an environment's config.
_RENDERING = ("camera_id", "env_id", "height", "mode", "width")
_MAKE_OPTIONS = ("from_pixels", *(f"render_{name}" for name in _RENDERING))


def make_vec(
    env_id: str,
    num_envs: int = 128,
    *,
    seed: int = 0,
    stochastic: bool = False,
    episodic_life: bool | None = None,
    reward_clip: bool | None = None,
    num_threads: int = 0,
    halves: bool = False,
    **kwargs: Any,
) -> EnvPoolVecEnv | EnvPoolHalves:
    """Make an EnvPool environment as a ``VecEnv``, for Atari with the settings of the Deep SPI paper.

    Atari: four stacked gray frames of 84 x 84, one action for every four frames, at most 108,000 actions per
    episode, the minimal set of actions, FIRE pressed at the start. The settings are those of the paper's
    published implementation; in the stochastic variant actions stick with probability 0.3 and episodes begin with
    up to 60 no-ops instead of 30.

    Args:
        env_id: an id of ``envpool.list_all_envs()``, for example ``"Breakout-v5"``.
        num_envs: number of environments.
        seed: of the first environment; the next ones have the following numbers. It cannot be changed later.
        stochastic: Atari only: the paper's stochastic variant.
        episodic_life: Atari only: losing a life ends an episode for the learner, while ``info["episode"]``
            describes whole games. True if ``None``.
        reward_clip: Atari only: the learner sees the sign of the reward, while ``info["episode"]`` and
            ``info["reward"]`` hold the score. True if ``None``.
        num_threads: of EnvPool; 0 lets it choose.
        halves: make two pools of half the size, so that our on-policy algorithms, stepping from Python, choose the
            actions of one while the other is stepped. Meant for accelerators and many CPU cores. Environments keep
            their seeds, but a training draws other random actions than with one pool.
        **kwargs: other fields of the environment's EnvPool config, and ``render_mode``; they override the settings
            above.

    Returns:
        The environment. It reports terminal observations and raw returns without further wrappers, and can be
        stepped inside ``jit`` if EnvPool supports that.

    Raises:
        MissingDependencyError: an ``ImportError``; EnvPool is not installed.
        ValueError: the id is unknown, ``num_envs`` or ``seed`` is out of range, or arguments contradict each
            other.
        TypeError: the environment does not have an argument.
    """
    try:
        import envpool
    except ImportError as error:
        raise MissingDependencyError.named("envpool", "EnvPool environments", "envpool") from error
    _check_id(env_id, envpool.list_all_envs())
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}.")
    if not -(2**31) <= seed < 2**31:
        raise ValueError(f"seed must be a signed 32-bit integer, got {seed}.")
    fields = envpool.make_spec(env_id).config._fields
    _check_fields(env_id, kwargs, fields)
    switches = {"episodic_life": episodic_life, "reward_clip": reward_clip}
    settings = _settings(env_id, stochastic, switches, kwargs, atari="repeat_action_probability" in fields)

    def make(num_envs: int, seed: int) -> EnvPoolVecEnv:
        return EnvPoolVecEnv(
            envpool.make(
                env_id,
                env_type="gymnasium",
                num_envs=num_envs,
                seed=seed,
                num_threads=num_threads,
                **settings,
            )
        )

    if not halves:
        return make(num_envs, seed)
    if num_envs % 2:
        raise ValueError(f"halves=True needs an even num_envs, got {num_envs}.")
    return EnvPoolHalves(make(num_envs // 2, seed), make(num_envs // 2, seed + num_envs // 2))


def _settings(
    env_id: str, stochastic: bool, switches: dict[str, bool | None], kwargs: dict[str, Any], *, atari: bool
) -> dict[str, Any]:
    """Merge the Atari settings and the caller's, or refuse the Atari switches for other environments."""
    if not atari:
        given = [name for name, value in switches.items() if value is not None]
        given += ["stochastic"] * stochastic
        if given:
            raise TypeError(
                f"{', '.join(given)}: only for Atari, and {env_id!r} is not an Atari environment."
            )
        return kwargs
    clash = [name for name in _STOCHASTIC if stochastic and name in kwargs]
    if clash:
        raise ValueError(f"stochastic=True sets {', '.join(clash)}; pass only one of them.")
    chosen = {name: True if value is None else value for name, value in switches.items()}
    return {**_ATARI, **(_STOCHASTIC if stochastic else _DETERMINISTIC), **chosen, **kwargs}


def _check_id(env_id: str, known: list[str]) -> None:
    if env_id not in known:
        hint = did_you_mean(env_id, known)
        raise ValueError(f"env_id={env_id!r} is unknown to EnvPool.{hint} envpool.list_all_envs() lists all.")


def _check_fields(env_id: str, kwargs: dict[str, Any], fields: tuple[str, ...]) -> None:
    allowed = sorted({*fields, *_MAKE_OPTIONS})
    for name in kwargs:
        if name not in allowed:
            hint = did_you_mean(name, allowed)
            raise TypeError(f"{env_id!r} has no argument {name!r}.{hint} Allowed: {', '.join(allowed)}.")
