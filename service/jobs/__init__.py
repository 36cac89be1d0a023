"""The data, checkpoints and parent job that a job refers to."""
