"""CYBORGS: bootstrapped masks and contrastive pretraining on scenes (ECCV 2022)."""

__version__ = "0.1.0"
