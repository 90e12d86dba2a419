"""Loggers that follow a run: TensorBoard, MLflow, Weights & Biases. Their packages are imported only when chosen."""
