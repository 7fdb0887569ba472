"""A logger's output as a list."""

from stable_baselines3.common.logger import KVWriter


class Rows(KVWriter):
    """Keeps what each dump of the log wrote."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass
