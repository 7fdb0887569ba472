"""Bases that show constructors and attributes to type checkers and editors, which read ``signatures.pyi`` instead.

``make signatures`` writes that file from the hyperparameters. At run time ``constructors`` does the same.
"""


class Signature:
    """Nothing at run time."""


PPO = DeepSPI = DeepMDP = DreamSPI = TDMPC2 = SPOWL = Signature
