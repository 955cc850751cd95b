"""Pretraining: taking steps with an objective, on an online network and its moving average."""
