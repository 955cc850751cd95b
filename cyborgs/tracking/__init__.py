"""Metrics of a run in MLflow and Weights & Biases: read from its files, and sent."""
