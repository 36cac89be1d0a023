"""What a job refers to: its data, its checkpoints and its parent job."""
