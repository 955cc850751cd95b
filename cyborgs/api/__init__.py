"""What notebooks and programs use of a run; `cyborgs` exports it."""
