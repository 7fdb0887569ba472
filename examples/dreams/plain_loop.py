"""A policy gradient in fifty lines of torch, CleanRL style, on the dream that ``gymnasium.make_vec`` makes.

python examples/dreams/plain_loop.py
"""

import pathlib
import tempfile

import gymnasium as gym
import numpy as np
import torch
from recipe import fit, parser
from torch import nn

from spi_wrappers import LatentObservation


def returns_to_go(reward: np.ndarray, done: np.ndarray, last: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted sums ``[T, B]``, bootstrapped with the critic's value where the rollout was cut."""
    total, sums = last, np.zeros_like(reward)
    for t in reversed(range(len(reward))):
        total = reward[t] + gamma * total * (1.0 - done[t])
        sums[t] = total
    return sums


def main() -> None:
    args = parser(__doc__, real_steps=10_000, updates=2_000, iterations=300, n_envs=32).parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)

    path = pathlib.Path(tempfile.mkdtemp()) / "world.zip"
    fit(args).save(path)
    # Same-step autoreset: every row is a transition; after an episode's end comes the first observation of the next.
    dream = gym.make_vec(
        "spi/Dream-v0", num_envs=args.n_envs, model=str(path), horizon=50, autoreset_mode="SameStep"
    )
    size, actions = dream.single_observation_space.shape[0], int(dream.single_action_space.n)
    actor = nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, actions))
    critic = nn.Sequential(nn.Linear(size, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=3e-3)

    obs, _ = dream.reset(seed=0)
    for _ in range(args.iterations):
        rows: list[tuple[np.ndarray, ...]] = []
        for _ in range(16):
            with torch.no_grad():
                action = torch.distributions.Categorical(logits=actor(torch.as_tensor(obs))).sample().numpy()
            next_obs, reward, terminated, truncated, _ = dream.step(action)
            rows.append((obs, action, reward, terminated | truncated))
            obs = next_obs
        seen, taken, rewards, dones = (np.stack(column) for column in zip(*rows, strict=True))
        with torch.no_grad():
            last = critic(torch.as_tensor(obs))[:, 0].numpy()
        target = torch.as_tensor(returns_to_go(rewards, dones, last, 0.98), dtype=torch.float32)
        value = critic(torch.as_tensor(seen))[..., 0]
        choice = torch.distributions.Categorical(logits=actor(torch.as_tensor(seen)))
        advantage = (target - value).detach()
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        loss = -(choice.log_prob(torch.as_tensor(taken)) * advantage).mean()
        loss = loss + 0.5 * ((target - value) ** 2).mean() - 0.01 * choice.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    real = LatentObservation(gym.make(args.env), str(path))
    totals = []
    for episode in range(10):
        obs, _ = real.reset(seed=episode)
        total, over = 0.0, False
        while not over:
            with torch.no_grad():
                action = int(actor(torch.as_tensor(obs)).argmax())
            obs, reward, terminated, truncated, _ = real.step(action)
            total, over = total + float(reward), terminated or truncated
        totals.append(total)
    print(f"real return {np.mean(totals):.1f}")


if __name__ == "__main__":
    main()
