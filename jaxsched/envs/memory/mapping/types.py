"""Data of `MemoryMap-v0` on the device: the instance, and the state of a partial mapping.

Shapes: `A` accesses in program order, `V` values, `T` instructions, all padded with zeros and a
False mask. Times are in ticks, addresses in units: both are what the user gave, divided by a
greatest common divisor (`to_instance`).
"""

from __future__ import annotations

from flax import struct
from jax import Array

from jaxsched.host.checks import INT32_MAX

COPY, NOCOPY, DROP = 0, 1, 2  # the actions
ACTIONS = ("COPY", "NOCOPY", "DROP")
NEVER = INT32_MAX  # there is no valid copy in slow memory


class Instance(struct.PyTreeNode):
    """A program for the device. Reads of an instruction come before its writes."""

    value: Array  # i32[A]  id of the value
    time: Array  # i32[A]  its instruction, ascending
    is_write: Array  # bool[A]
    slow: Array  # i32[A]  ticks that the access takes from slow memory
    fast: Array  # i32[A]  ticks from fast memory, <= slow
    demand: Array  # i32[A]  ticks of supply that a copy of the value takes
    width: Array  # i32[A]  units of fast memory that the value takes
    is_output: Array  # bool[A]  of the value
    previous: Array  # i32[A]  the access of the same value before it; itself where none
    following: Array  # i32[A]  the access of the same value after it; itself where none
    leader: Array  # i32[A]  the first access of its alias group; itself where it has none
    access_mask: Array  # bool[A]  real accesses
    is_input: Array  # bool[V]
    value_mask: Array  # bool[V]
    compute: Array  # i32[T]  ticks
    instruction_mask: Array  # bool[T]
    capacity: Array  # i32[]  units

    @property
    def num_accesses(self) -> int:
        """Padded number of accesses, a static Python int."""
        return self.time.shape[-1]

    @property
    def num_values(self) -> int:
        """Padded number of values, a static Python int."""
        return self.value_mask.shape[-1]

    @property
    def num_instructions(self) -> int:
        """Padded number of instructions, a static Python int."""
        return self.compute.shape[-1]


class Choices(struct.PyTreeNode):
    """What the three actions would do at the current access; meaningless where not legal."""

    legal: Array  # bool[3]
    begin: Array  # i32[3]  fast memory is held from this instruction
    end: Array  # i32[3]  to before this one; equal where nothing new is held
    offset: Array  # i32[3]  units
    ready: Array  # i32[3]  see State
    taken: Array  # i32[T]  supply that COPY, or the write-back of DROP, takes
    writes_back: Array  # bool[]  DROP writes the value back
    gain: Array  # i32[]  ticks that the program gets shorter by COPY or NOCOPY


class State(struct.PyTreeNode):
    """A partial mapping. Rows of `[A]` are the values of the accesses decided, right after them; 0
    where undecided.

    Row a holds a block of fast memory if `begin < end`: `[begin, end)` in instructions and
    `[offset, offset + width)` in units. The value was last in fast memory at instruction `end - 1`,
    at `offset`; never if `end` is 0.
    """

    instance: Instance
    position: Array  # i32[]  the current access
    action: Array  # i32[A]
    begin: Array  # i32[A]
    end: Array  # i32[A]
    offset: Array  # i32[A]
    # i32[A]  first instruction that may read the value from slow memory, NEVER where none may
    ready: Array
    supply: Array  # i32[T]  ticks of each instruction that copies have not taken
    memory: Array  # i32[T]  ticks that the accesses of each instruction take, undecided ones slow
    latency: Array  # i32[]  ticks, the sum over instructions of the larger of compute and memory
    baseline: Array  # i32[]  latency with everything slow
    choices: Choices
    dead: Array  # bool[]  accesses are left, but no action is legal

    @property
    def done(self) -> Array:
        """bool[]: every access is decided, or none can be."""
        return ~self.choices.legal.any(-1)
