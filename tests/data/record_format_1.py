"""Write the files of ``tests/data/format_1``: what the code of commit bb81433 saved, for tests that it still loads.

Run from the root of that commit: ``python tests/data/record_format_1.py tests/data/format_1``.
"""

import json
import pathlib
import sys

import numpy as np
from tiny_models import CARTPOLE, SMALL, tiny_deep_spi, tiny_ppo, tiny_spowl, tiny_tdmpc2
from tiny_worlds import tiny_world

from spi_plugins import DeepMDP, DreamSPI

ROLLOUTS = 3


def models():
    small = {"n_envs": 2, "transition_density": "deterministic", **SMALL}
    dreams = {**small, "termination_model": True, "imagination_batch_size": 4, "imagination_horizon": 2}
    dreams["policy_kwargs"] = {"net_arch": [8], "latent_arch": [8]}
    dreams.pop("termination_model")
    return {
        "ppo": tiny_ppo(),
        "deep_spi": tiny_deep_spi(),
        "deep_mdp": DeepMDP("MlpPolicy", CARTPOLE, **small),
        "dream_spi": DreamSPI("MlpPolicy", CARTPOLE, replay_size=16, **dreams),
        "tdmpc2": tiny_tdmpc2(),
        "spowl": tiny_spowl(),
    }


def summary(model):
    """Sums of the absolute values of each parameter group, and decisions on fixed observations."""
    obs = np.linspace(-0.05, 0.05, 3 * int(np.prod(model.observation_space.shape)), dtype=np.float32)
    obs = obs.reshape(3, *model.observation_space.shape)
    groups = model.get_parameters()
    return {
        "parameters": {
            name: float(sum(np.abs(x, dtype=np.float64).sum() for x in tree.values() if x.dtype.kind == "f"))
            for name, tree in groups.items()
        },
        "actions": np.asarray(model.predict(obs, deterministic=True)[0]).tolist(),
    }


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, model in models().items():
        model.learn(24)
        model.save(folder / f"{name}.zip")
        saved = summary(model)
        if name in ("tdmpc2", "spowl"):
            model.save_replay_buffer(folder / f"{name}_replay.npz")
        if name in ("deep_spi", "dream_spi", "spowl"):
            model.save_world_model(folder / f"world_{name}.zip")
        model.learn(24, reset_num_timesteps=False)
        expected[name] = {"saved": saved, "after_24_more": summary(model)}
    tiny_world(n=8).save(folder / "world_ensemble.zip")
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
