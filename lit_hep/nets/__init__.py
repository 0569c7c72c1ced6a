"""Networks: torch only, tensors in, tensors out."""
