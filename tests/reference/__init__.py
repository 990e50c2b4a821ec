"""Independent pure-Python simulators the tests compare against; nothing here imports jaxsched."""
