"""The SoC family: streams of task graphs on heterogeneous processors. The README in this folder
states the problem.
"""

from jaxsched.core.result import Result
from jaxsched.envs.soc.draw import gantt, gantt_svg
from jaxsched.envs.soc.env import SoC
from jaxsched.envs.soc.exact import solve_exact, solve_stream
from jaxsched.envs.soc.exact_graph import solve_static
from jaxsched.envs.soc.instances import make_instance, make_system, to_host, width
from jaxsched.envs.soc.io import load_job, load_platform, load_static
from jaxsched.envs.soc.plain import schedule_static, simulate
from jaxsched.envs.soc.platforms import Job, Platform, StaticGraph
from jaxsched.envs.soc.preset import PRESETS
from jaxsched.envs.soc.settings import Settings
from jaxsched.envs.soc.sources import Streams, random_systems, streams
from jaxsched.envs.soc.static import StaticSchedule
from jaxsched.envs.soc.trace import JobRecord, TaskRecord, Trace
from jaxsched.envs.soc.types import Instance, Noise, State, System
from jaxsched.envs.soc.validate import validate

__all__ = [
    "PRESETS",
    "Instance",
    "Job",
    "JobRecord",
    "Noise",
    "Platform",
    "Result",
    "Settings",
    "SoC",
    "State",
    "StaticGraph",
    "StaticSchedule",
    "Streams",
    "System",
    "TaskRecord",
    "Trace",
    "gantt",
    "gantt_svg",
    "load_job",
    "load_platform",
    "load_static",
    "make_instance",
    "make_system",
    "random_systems",
    "schedule_static",
    "simulate",
    "solve_exact",
    "solve_static",
    "solve_stream",
    "streams",
    "to_host",
    "validate",
    "width",
]
