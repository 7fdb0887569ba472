"""EnvPool's environments stepped inside ``jit``, against the same steps from Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pool_histories import ATARI, actions_for, breakout, make


def scan(env, actions):
    """Compile T steps over the adapter's XLA functions."""
    xla = env.xla_functions()
    return jax.jit(lambda handle, actions: jax.lax.scan(xla.step, handle, actions))


@pytest.mark.parametrize(
    ("env_id", "steps", "kwargs"),
    [
        ("CartPole-v1", 100, {}),
        ("Pendulum-v1", 50, {"max_episode_steps": 20}),
        ("Breakout-v5", 200, {**ATARI, "max_episode_steps": 90}),
        ("FrozenLake-v1", 60, {}),
        ("MiniGrid-Empty-5x5-v0", 60, {"max_episode_steps": 15}),
    ],
)
def test_compiled_steps_give_the_rows_of_python_bit_for_bit(env_id, steps, kwargs):
    compiled, python = make(env_id, **kwargs), make(env_id, **kwargs)
    actions = actions_for(python, steps)
    jax.tree.map(np.testing.assert_array_equal, compiled.reset(), python.reset())
    _, rows = scan(compiled, actions)(compiled.xla_functions().handle(), jnp.asarray(actions))
    recorded = compiled.record(rows)
    ends = 0
    for t in range(steps):
        want = python.step_rows(actions[t])
        got = jax.tree.map(lambda x, t=t: np.asarray(x[t]), rows)
        for mine, theirs in zip(jax.tree.leaves(got.obs), jax.tree.leaves(want.obs), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
        for name in ("reward", "terminated", "truncated", "valid"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
            assert getattr(got, name).dtype == getattr(want, name).dtype
        for i, info in enumerate(want.infos):
            assert recorded[t][i]["TimeLimit.truncated"] == info["TimeLimit.truncated"]
            assert ("episode" in recorded[t][i]) == ("episode" in info)
            if "episode" in info:
                ends += 1
                for key in "rl":
                    assert recorded[t][i]["episode"][key] == info["episode"][key]
    assert ends > 2
    for name in ("episode_return", "episode_length"):
        np.testing.assert_array_equal(
            getattr(compiled.statistics, name), getattr(python.statistics, name), err_msg=name
        )


def test_compiled_and_python_steps_alternate_on_one_pool():
    mixed, plain = breakout(2, max_episode_steps=60), breakout(2, max_episode_steps=60)
    actions = actions_for(plain, 150)
    mixed.reset(), plain.reset()
    run, handle, got, want = scan(mixed, actions), None, [], []

    def entry(row, infos):
        episodes = [(info["episode"]["r"], info["episode"]["l"]) for info in infos if "episode" in info]
        return (np.asarray(row.obs), *(np.asarray(x).tolist() for x in row[1:5]), episodes)

    for t in range(0, 150, 10):
        if (t // 10) % 3 == 2:  # two compiled stretches, then ten steps from Python
            for action in actions[t : t + 10]:
                row = mixed.step_rows(action)
                got.append(entry(row, row.infos))
            handle = None
        else:
            handle = mixed.xla_functions().handle() if handle is None else handle
            handle, rows = run(handle, jnp.asarray(actions[t : t + 10]))
            infos = mixed.record(rows._replace(obs=None))
            got += [entry(jax.tree.map(lambda x, k=k: x[k], rows), infos[k]) for k in range(10)]
    for action in actions:
        row = plain.step_rows(action)
        want.append(entry(row, row.infos))
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]
    assert sum(len(row[-1]) for row in want) >= 4
    # SB3's step and an evaluation afterwards begin from a sound state.
    obs, _, done, _ = mixed.step(actions[0])
    other, _, other_done, _ = plain.step(actions[0])
    np.testing.assert_array_equal(obs, other)
    np.testing.assert_array_equal(done, other_done)


def test_a_compiled_stretch_may_end_with_an_episode():
    env = make("Pendulum-v1", 2, max_episode_steps=5)
    env.reset()
    actions = jnp.zeros((5, 2, 1))
    handle, rows = scan(env, actions)(env.xla_functions().handle(), actions)
    infos = env.record(rows)
    assert [info["episode"]["l"] for info in infos[-1]] == [5, 5]
    assert env.ended.all()
    np.testing.assert_array_equal(handle.ended, env.ended)
    _, reward, done, _ = env.step(np.ones((2, 1)))
    assert reward.tolist() == [0.0, 0.0]
    assert not done.any()
    assert not env.ended.any()


def test_rows_from_a_stale_handle_are_refused():
    env = make("CartPole-v1", 2)
    env.reset()
    actions = jnp.zeros((40, 2), jnp.int32)
    run = scan(env, actions)
    stale = env.xla_functions().handle()
    while not env.ended.any():
        env.step_rows(np.zeros(2, int))
    _, rows = run(stale, actions)
    with pytest.raises(RuntimeError, match=r"Take a new handle\(\)"):
        env.record(rows)


def test_python_steps_after_unrecorded_compiled_ones_are_refused_at_the_first_reset():
    env = make("CartPole-v1", 2)
    env.reset()
    step, handle = jax.jit(env.xla_functions().step), env.xla_functions().handle()
    for _ in range(20):
        handle, rows = step(handle, jnp.zeros(2, jnp.int32))
        if np.any(rows.terminated):
            break
    with pytest.raises(RuntimeError, match="record"):
        env.step_rows(np.zeros(2, int))


def test_compiled_functions_keep_the_pool_alive():
    import gc
    import weakref

    env = make("CartPole-v1", 2)
    alive = weakref.ref(env.pool)
    env.reset()
    functions = env.xla_functions()
    assert functions is env.xla_functions()
    del env
    gc.collect()
    assert alive() is not None
    _, rows = functions.step(functions.handle(), jnp.zeros(2, jnp.int32))
    assert rows.obs.shape == (2, 4)
