"""What the product is measured beside: small, honest programs that do a part of its work."""
