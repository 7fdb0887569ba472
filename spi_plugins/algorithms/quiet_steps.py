"""How long callbacks do without ``on_step``: for so long, iterations can run in one call of the device.

A user's callback is asked at every step unless it has a method ``quiet_steps() -> int``: the number of steps of
all environments, from now on, that may pass at once. It then sees ``on_step`` once for them all.
"""

from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    ConvertCallback,
    EvalCallback,
    EveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
)

FOREVER = 2**62


def quiet_steps(callback: BaseCallback, n_envs: int) -> int:
    """The steps of ``n_envs`` environments before the next one that the callback must see; 0 if that is each one."""
    own = getattr(callback, "quiet_steps", None)
    if own is not None:
        return int(own())
    kind = type(callback)
    if isinstance(callback, CallbackList) and kind is CallbackList:
        return min((quiet_steps(each, n_envs) for each in callback.callbacks), default=FOREVER)
    if isinstance(callback, ConvertCallback) and kind is ConvertCallback:
        return FOREVER if callback.callback is None else 0
    if isinstance(callback, EvalCallback) and kind is EvalCallback:
        return before_multiple(callback.n_calls, callback.eval_freq)
    if isinstance(callback, CheckpointCallback) and kind is CheckpointCallback:
        return before_multiple(callback.n_calls, callback.save_freq)
    if isinstance(callback, EveryNTimesteps) and kind is EveryNTimesteps:
        missing = callback.last_time_trigger + callback.n_steps - callback.model.num_timesteps
        return max(-(-missing // n_envs) - 1, 0)
    if isinstance(callback, StopTrainingOnMaxEpisodes) and kind is StopTrainingOnMaxEpisodes:
        # At most one episode ends in each environment.
        return max((callback.max_episodes * n_envs - callback.n_episodes - 1) // n_envs, 0)
    return FOREVER if kind is ProgressBarCallback else 0


def before_multiple(count: int, frequency: int) -> int:
    """How many times one can count on from ``count`` without reaching a multiple; 0 or less means never."""
    return frequency - count % frequency - 1 if frequency > 0 else FOREVER


def pass_steps(callback: BaseCallback, n_steps: int, n_envs: int, n_episodes: int) -> None:
    """Let steps pass that are quiet for the callback, in which ``n_episodes`` ended."""
    if hasattr(callback, "quiet_steps"):
        callback.n_calls += n_steps - 1
        callback.on_step()
        return
    callback.n_calls += n_steps
    callback.num_timesteps = callback.model.num_timesteps
    if isinstance(callback, CallbackList):
        for each in callback.callbacks:
            pass_steps(each, n_steps, n_envs, n_episodes)
    elif isinstance(callback, StopTrainingOnMaxEpisodes):
        callback.n_episodes += n_episodes
    elif isinstance(callback, ProgressBarCallback):
        callback.pbar.update(n_steps * n_envs)
