"""Moments as they stand in objects, which anyone may have edited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def parse_timestamp(value: object) -> datetime | None:
    """The moment in UTC, or None for anything that is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def whole_second(moment: datetime) -> datetime:
    """Rounded up, since objects hold whole seconds and no wait may come out shorter."""
    return (moment + timedelta(microseconds=999_999)).replace(microsecond=0)
