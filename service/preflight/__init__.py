"""The check of a job request before the job is queued."""
