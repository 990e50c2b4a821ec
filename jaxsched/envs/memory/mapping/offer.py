"""What `MemoryMap-v0` offers beside its rules."""

from jaxsched.core.offer import Offer
from jaxsched.envs.memory.mapping.preset import PRESETS

OFFER = Offer(presets=PRESETS)
