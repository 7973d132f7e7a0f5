"""The audit of any model card, claim by claim."""
