"""The comparison with other tools, the lower bound of the time, and cached against fresh training."""
