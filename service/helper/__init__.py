"""The helper process, which checks requests and runs models under time and memory limits, and its client."""
