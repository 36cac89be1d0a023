"""Seconds after which a client should retry, by cause: the values of `Retry-After`."""

# A job was accepted: when to poll it for the first time.
JOB_ACCEPTED_SECONDS = 1
# Every helper process is busy, starting or stopping.
HELPERS_BUSY_SECONDS = 2
# The service, or the address of the client, has too many connections.
CONNECTIONS_SECONDS = 5
# The database is unreachable or locked, or other requests queue for it.
DATABASE_SECONDS = 5
# Artifacts can't be read or written.
ARTIFACTS_SECONDS = 5
# A request body can't be written to the spool.
SPOOL_SECONDS = 5
# The job queue has reached `max_queue_length`.
QUEUE_FULL_SECONDS = 10
# A disk is full: freeing space needs a person, or a job to end.
DISK_FULL_SECONDS = 60
