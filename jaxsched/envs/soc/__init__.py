"""The SoC family: streams of task graphs on heterogeneous processors."""
