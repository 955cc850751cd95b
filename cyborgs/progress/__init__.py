"""How far a run is: its jobs as a tree, for a terminal, for a log, and for `cyborgs status`."""
