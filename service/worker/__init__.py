"""The worker process: claims jobs and trains them."""
