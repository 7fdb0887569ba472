"""Learned worlds as Gymnasium environments, the way back to the real one, and a check that compares the two."""

from spi_wrappers.dream.check import DreamCheck
from spi_wrappers.dream.env import DreamEnv, DreamVectorEnv
from spi_wrappers.dream.observation import LatentObservation, LatentVectorObservation
from spi_wrappers.dream.report import Calibration, DreamReport

__all__ = [
    "Calibration",
    "DreamCheck",
    "DreamEnv",
    "DreamReport",
    "DreamVectorEnv",
    "LatentObservation",
    "LatentVectorObservation",
]
