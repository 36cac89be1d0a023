"""What a client may declare, as pydantic models; no torch, no SQL."""
