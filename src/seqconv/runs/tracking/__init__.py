"""A run in other tools: TensorBoard and MLflow."""
