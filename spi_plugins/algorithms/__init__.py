"""SB3 shells around the pure agents."""

from spi_plugins.algorithms.deep_spi import PPO, DeepMDP, DeepSPI

__all__ = ["PPO", "DeepMDP", "DeepSPI"]
