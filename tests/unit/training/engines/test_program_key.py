"""Keys of compiled programs: equal at preflight and in a worker process, grouped alike in the queue."""



