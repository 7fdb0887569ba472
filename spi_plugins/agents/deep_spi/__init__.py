"""Deep SPI, DeepMDP and PPO as one pure agent."""
