"""The helper process: checks requests, predicts and reads checkpoints under time and memory limits."""
