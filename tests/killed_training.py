"""A training with checkpoints whose process gets SIGKILL in the middle."""

import os
import signal
import subprocess
import sys

from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback


class Kill(BaseCallback):
    """Kills the process at the start of the first rollout from a step on; asks to see no step."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def quiet_steps(self):
        return 10**9

    def _on_rollout_start(self):
        if self.num_timesteps >= self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _on_step(self):
        return True


def train_until_killed(folder, maker, *, steps, every, at):
    """Train a model of ``tiny_models`` in another process that is killed; ``every`` is in calls, as SB3 has it.

    The newest checkpoint in ``folder`` is the last one of ``model_*_steps.zip``.
    """
    words = [str(word) for word in (folder, maker, steps, every, at)]
    assert subprocess.run([sys.executable, __file__, *words], check=False).returncode == -signal.SIGKILL


if __name__ == "__main__":
    import tiny_models

    from spi_plugins.algorithms import on_policy

    on_policy.WORTH_COMPILING = 1
    folder, maker, steps, every, at = sys.argv[1:]
    saves = CheckpointCallback(int(every), folder, "model", save_replay_buffer=True)
    getattr(tiny_models, maker)().learn(int(steps), [saves, Kill(int(at))])
