"""Plays a saved model in one environment, and keeps what a video shows of it."""

import io
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from spi_plugins.algorithms.action_masks import with_masks
from spi_plugins.algorithms.named_envs import default_policy
from spi_plugins.algorithms.stored_algorithm import StoredAlgorithm
from spi_plugins.cli.arguments import CommandError, RunError
from spi_plugins.cli.env_names import find_source
from spi_plugins.cli.env_recipe import EvaluationTask
from spi_plugins.cli.evaluation import load_model, open_env_of
from spi_plugins.dreams.alongside import DreamAlongside, Dreamt
from spi_plugins.dreams.file import StoredWorldModel, load_world_model
from spi_plugins.dreams.opening import find_world_model
from spi_plugins.errors import SPIError
from spi_plugins.plugins.registry import describe
from spi_plugins.types import COST_KEY

_DEFAULT_FPS, _HIGHEST_FPS = 10, 50
# A frame has at most this many rows: videos are kept in memory until all is played.
MOST_ROWS = 480


class Dream(NamedTuple):
    """Which dream to show."""

    world_model: str | None  # a file or a name; ``None`` for the model's own
    horizon: int


class Moment(NamedTuple):
    """One frame of the video."""

    picture: NDArray[np.uint8]  # of the environment
    episode: int
    step: int
    reward: float | None  # of the step that led here; ``None`` at an episode's beginning
    cost: float | None  # also ``None`` without costs
    total: float  # return so far
    dreamt: Dreamt | None


class Recording(NamedTuple):
    """What was played."""

    moments: list[Moment]
    fps: int
    rendered: bool  # whether pictures are the environment's frames rather than observations
    stored: StoredWorldModel | None  # the world model of the dream

    @property
    def n_episodes(self) -> int:
        """Episodes, the last of which may be cut."""
        return self.moments[-1].episode + 1

    @property
    def text(self) -> str:
        """Returns, and what is seen."""
        totals = {moment.episode: moment.total for moment in self.moments}
        shown = ", ".join(f"{total:.4g}" for total in totals.values())
        dream = "without a dream" if self.stored is None else f"next to a dream of {self.stored.kind}"
        return f"return {shown}, {dream}"


def record(
    algorithm: str,
    path: pathlib.Path,
    task: EvaluationTask,
    dream: Dream | None,
    max_steps: int,
    *,
    trusted: bool,
) -> Recording:
    """Play the episodes of a task, ``max_steps`` in all.

    Raises:
        CommandError: the environment cannot be seen, or the world model belongs to another one.
        RunError: the environment or the model failed while playing.
    """
    model = load_model(algorithm, path, trusted=trusted)
    env = visible_env(model, path, task)
    try:
        deterministic = task.deterministic
        if deterministic is None:
            deterministic = default_policy(env) != "CnnPolicy"
        alongside = None
        obs = env.reset()
        stored = None if dream is None else _world_model(model, dream, obs)
        if dream is not None and stored is not None:
            if stored.observation_space != env.observation_space:
                raise CommandError(
                    f"The world model sees {stored.observation_space}, but {task.recipe.env!r} has "
                    f"{env.observation_space}."
                )
            alongside = DreamAlongside(stored, dream.horizon, _original(env, dream))
        moments, rendered = _play(env, model, obs, alongside, (task.n_episodes, max_steps, deterministic))
    except (SPIError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise RunError(f"The video of {path} on {task.recipe.env!r} failed: {describe(error)}") from error
    finally:
        env.close()
    fps = (getattr(env, "metadata", None) or {}).get("render_fps") or _DEFAULT_FPS
    return Recording(moments, min(int(fps), _HIGHEST_FPS), rendered, stored)


def _original(env: VecEnv, dream: Dream) -> Callable[[Any], Any]:
    """What world models that others fitted have seen: no normalization, unlike the model's own."""
    normalization = None if dream.world_model is None else unwrap_vec_normalize(env)
    return (lambda obs: obs) if normalization is None else normalization.unnormalize_obs


def visible_env(model: BaseAlgorithm, path: pathlib.Path, task: EvaluationTask) -> VecEnv:
    """One copy of the model's environment, which renders frames if it can."""
    task = task._replace(n_envs=1, recipe=task.recipe._replace(vec_env=None))
    recipe = task.recipe
    if find_source(recipe.env) != "family":
        seen = recipe._replace(env_kwargs={"render_mode": "rgb_array", **recipe.env_kwargs})
        try:
            return open_env_of(model, path, task._replace(recipe=seen))
        except CommandError:  # a functional environment, which always renders, takes no render_mode
            pass
    return open_env_of(model, path, task)


def _world_model(model: Any, dream: Dream, obs: Any) -> StoredWorldModel | None:
    """The one that is named, or the model's own; ``None`` if it has none."""
    if dream.world_model is not None:
        return find_world_model(dream.world_model)
    if not isinstance(model, StoredAlgorithm) or not hasattr(model, "save_world_model"):
        return None
    file = io.BytesIO()
    try:
        model.save_world_model(file, obs)
    except ValueError:  # it learns none
        return None
    file.seek(0)
    return load_world_model(file)


def _play(
    env: VecEnv, model: Any, obs: Any, alongside: DreamAlongside | None, how: tuple[int, int, bool]
) -> tuple[list[Moment], bool]:
    n_episodes, max_steps, deterministic = how
    actor = with_masks(model, env)
    moments: list[Moment] = []
    rendered = env.get_images()[0] is not None
    enlarged = enlargement(env, obs)
    state, starts = None, np.ones(1, bool)
    for episode in range(n_episodes):
        step, total = 0, 0.0
        dreamt = None if alongside is None else alongside.begin(obs)
        moments.append(Moment(_picture(env, obs), episode, 0, None, None, 0.0, dreamt))
        while len(moments) < max_steps:
            action, state = actor.predict(obs, state=state, episode_start=starts, deterministic=deterministic)
            obs, rewards, starts, infos = env.step(action)
            step, total = step + 1, total + float(rewards[0])
            # At an end the environment has begun anew: its last frame is gone, its last observation is not.
            reached = _batch(infos[0].get("terminal_observation", obs[0])) if starts[0] else obs
            dreamt = None if alongside is None else alongside.step(action, reached)
            cost = infos[0].get(COST_KEY)
            if not starts[0]:
                picture = _picture(env, obs)
            else:
                picture = moments[-1].picture if enlarged is None else _observed(reached, enlarged)
            numbers = float(rewards[0]), None if cost is None else float(cost), total
            moments.append(Moment(picture, episode, step, *numbers, dreamt))
            if starts[0]:
                break
        if len(moments) >= max_steps:
            break
    return moments, rendered


def _batch(obs: Any) -> Any:
    if isinstance(obs, dict):
        return {key: np.asarray(part)[None] for key, part in obs.items()}
    return np.asarray(obs)[None]


def enlargement(env: VecEnv, obs: Any) -> int | None:
    """How many times larger than the observation frames are that show just it; ``None`` if they show something else."""
    image = None if isinstance(obs, dict) else np.asarray(obs)[0]
    if image is None or image.ndim != 3:
        return None
    frame = env.get_images()[0]
    times = 1 if frame is None else max(frame.shape[0] // image.shape[0], 1)
    return times if frame is None or np.array_equal(_observed(obs, times), frame) else None


def _observed(obs: Any, times: int) -> NDArray[np.uint8]:
    return newest_frame(np.asarray(obs)[0]).repeat(times, axis=0).repeat(times, axis=1)


def _picture(env: VecEnv, obs: Any) -> NDArray[np.uint8]:
    """A frame, or the newest image of the observation."""
    frame = env.get_images()[0]
    if frame is None:
        frame = observed_picture(env, obs)
    rows = frame.shape[0]
    if rows > MOST_ROWS:
        from PIL import Image

        width = round(frame.shape[1] * MOST_ROWS / rows)
        frame = np.asarray(Image.fromarray(frame).resize((width, MOST_ROWS), Image.Resampling.LANCZOS))
    return frame


def observed_picture(env: VecEnv, obs: Any) -> NDArray[np.uint8]:
    """The newest frame in an observation of images.

    Raises:
        CommandError: the observation is none.
    """
    image = None if isinstance(obs, dict) else np.asarray(obs)[0]
    if image is None or image.ndim != 3:
        raise CommandError(
            f"There is nothing to see: the environment renders no frames, and its observations in "
            f"{env.observation_space} are not images."
        )
    return newest_frame(image)


def newest_frame(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image ``[H, W, C]`` or ``[C, H, W]`` as a color picture; of stacked gray frames, the last."""
    if image.shape[0] < min(image.shape[1:]):
        image = np.moveaxis(image, 0, -1)
    color = image if image.shape[-1] == 3 else np.repeat(image[..., -1:], 3, axis=-1)
    return np.asarray(np.clip(color, 0, 255), np.uint8)
