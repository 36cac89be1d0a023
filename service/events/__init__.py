"""Change notification: wakes requests that wait for a job."""
