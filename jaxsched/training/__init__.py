"""Trainers: jitted updates from small pure functions, and the host loop around them. Know no
family.
"""

from jaxsched.training.common import TrainState, data_mesh
from jaxsched.training.config import (
    ALGORITHMS,
    ExpertIterationConfig,
    ImitationConfig,
    PPOConfig,
    SelfLabelingConfig,
    TrainConfig,
)
from jaxsched.training.loop import make_training, new_run_dir, train
from jaxsched.training.schedules import SCHEDULES, make_schedule

__all__ = [
    "ALGORITHMS",
    "SCHEDULES",
    "ExpertIterationConfig",
    "ImitationConfig",
    "PPOConfig",
    "SelfLabelingConfig",
    "TrainConfig",
    "TrainState",
    "data_mesh",
    "make_schedule",
    "make_training",
    "new_run_dir",
    "train",
]
