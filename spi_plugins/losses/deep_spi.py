"""Where the model losses enter the policy objective: the one difference between Deep SPI, DeepMDP and PPO."""

from typing import Literal, TypeAlias

from jaxtyping import Array, Float

# "utility": Deep SPI, inside the clipped surrogate. "additive": DeepMDP, added to it. "none": PPO.
Auxiliary: TypeAlias = Literal["utility", "additive", "none"]


def auxiliary_loss(
    reward_loss: Float[Array, " B"],
    transition_loss: Float[Array, " B"],
    *,
    reward_loss_coef: float,
    transition_loss_coef: float,
) -> Float[Array, " B"]:
    r"""Per-sample model loss :math:`\alpha_R \ell_R + \alpha_P \ell_P` of Deep SPI (arXiv:2510.12312)."""
    return reward_loss_coef * reward_loss + transition_loss_coef * transition_loss


def utility(advantage: Float[Array, " B"], auxiliary: Float[Array, " B"]) -> Float[Array, " B"]:
    r"""Deep SPI's utility :math:`U = \hat A - \alpha_R \ell_R - \alpha_P \ell_P`.

    The model losses are subtracted from the *already normalized* advantage and carry their gradient: nothing is
    stopped, so an action whose outcome the model predicts badly loses probability, and the encoder and the model
    learn through the same term.
    """
    return advantage - auxiliary
