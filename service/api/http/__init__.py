"""HTTP mechanics: bodies, uploads, content negotiation and problem responses."""
