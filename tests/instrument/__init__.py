"""The whole pipeline as an instrument: what it says of data in which there is nothing to find."""
