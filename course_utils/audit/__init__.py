"""The audit of any model card; its one entry point is `audit_card`."""

from course_utils.audit.audit import audit_card

__all__ = ["audit_card"]
