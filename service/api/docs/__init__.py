"""The OpenAPI document, its examples and the generated reference."""
