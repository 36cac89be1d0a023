"""Specs: pydantic models of the sections of a request. They import neither torch nor SQLAlchemy."""
