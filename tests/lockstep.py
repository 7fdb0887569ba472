"""Two vector environments played side by side."""

from gymnasium.vector import AutoresetMode


def play_alike(ours, theirs, assert_same, steps, seed=7):
    """Play both with the same actions and compare all they return; count the episodes that ended.

    Args:
        ours: vector environment whose action space is sampled.
        theirs: what it should equal.
        assert_same: compares two results of ``reset`` or ``step``.
        steps: how long.
        seed: of the reset.
    """
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert_same(ours.reset(seed=seed), theirs.reset(seed=seed))
    ours.action_space.seed(1)
    episodes = 0
    for _ in range(steps):
        action = ours.action_space.sample()
        mine, yours = ours.step(action), theirs.step(action)
        assert_same(mine, yours)
        done = mine[2] | mine[3]
        episodes += done.sum()
        if ours.metadata["autoreset_mode"] is AutoresetMode.DISABLED and done.any():
            masks = ({"reset_mask": done.copy()} for _ in range(2))  # an environment may write to its own
            assert_same(*(envs.reset(options=mask) for envs, mask in zip((ours, theirs), masks, strict=True)))
    return episodes
