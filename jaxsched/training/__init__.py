"""Trainers: jitted updates from small pure functions, and the host loop around them. Know no
family.
"""

from jaxsched.training.algorithms import ALGORITHMS
from jaxsched.training.checkpoint import CorruptCheckpointError
from jaxsched.training.common import TrainState, data_mesh, devices_that_fit
from jaxsched.training.config import (
    ExpertIterationConfig,
    ImitationConfig,
    PPOConfig,
    SelfLabelingConfig,
    TrainConfig,
)
from jaxsched.training.loop import make_training, train
from jaxsched.training.run import new_run_dir
from jaxsched.training.schedules import SCHEDULES, make_schedule
from jaxsched.training.stopping import Stopped
from jaxsched.training.update import Algorithm, Lesson, Task

__all__ = [
    "ALGORITHMS",
    "SCHEDULES",
    "Algorithm",
    "CorruptCheckpointError",
    "ExpertIterationConfig",
    "ImitationConfig",
    "Lesson",
    "PPOConfig",
    "SelfLabelingConfig",
    "Stopped",
    "Task",
    "TrainConfig",
    "TrainState",
    "data_mesh",
    "devices_that_fit",
    "make_schedule",
    "make_training",
    "new_run_dir",
    "train",
]
