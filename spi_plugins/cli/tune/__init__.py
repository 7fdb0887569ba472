"""``spi tune``: Optuna searches for hyperparameters, with pruning, within a limit of the cost."""
