"""Environment families, one folder each; `registry.py` names them."""
