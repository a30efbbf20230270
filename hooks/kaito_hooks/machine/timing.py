"""Every time that the Machine hook waits for or counts from, in one place."""

from __future__ import annotations

from datetime import timedelta

# Until the next look.
SOON_SECONDS = 1
"""The rest of what this call has begun; finding out took the requests that one call may make."""
FINALIZER_SECONDS = 5
"""Until Metacontroller has put its finalizer on the Machine."""
OVERLAP_SECONDS = 5
"""While another call for the same Machine is under way."""
SHORTEST_FINALIZE_SECONDS = 5
"""Metacontroller calls finalize again only after a resync that is asked for."""
POLL_SECONDS = 15
"""While the provider is at work."""
SLOW_POLL_SECONDS = 30
"""While a failed pool goes, or a node that was ready is not."""
SETTLED_SECONDS = 300
TERMINAL_SECONDS = 600
"""Where only a person can change anything."""

# Between tries.
HOUR = 3600
LONGEST_BACKOFF = 6 * HOUR
"""What only a person can fix is asked for again all the same, since nobody tells us that it is fixed."""
LONGEST_WAIT = timedelta(seconds=LONGEST_BACKOFF * 1.25)
"""A moment further ahead was not written by us, or the clock has jumped: it is not waited for."""
LONGEST_RETRY_AFTER = 900
"""Seconds; whatever a server asks for, no Machine is left alone for longer on its word."""
SHORTEST_OUTAGE_WAIT, LONGEST_OUTAGE_WAIT = 15, 300
"""Seconds between two tries while nothing usable is answered, when the server names none."""
LONGEST_DELETION_WAIT = 300
"""Seconds between two tries to delete, whatever the error: a node is paid for meanwhile."""
JITTER = 0.2
"""Share by which waits differ from Machine to Machine, so that many do not come at once."""

# After which something counts as something else.
SLOW_CREATION = timedelta(minutes=30)
"""Pools of one node take 3 to 10 minutes."""
REGISTRATION_LIMIT = timedelta(minutes=15)
"""Karpenter's: a virtual machine that has not joined by then never does."""
LOST_AFTER = timedelta(minutes=10)
"""Karpenter's node repair: a node that comes back does so earlier."""
ABSENT_TWICE = timedelta(seconds=45)
"""Longer than a request can be held up on its way and still be carried out (measured: 5 to 40 s)."""
BLOCKED_AFTER = timedelta(minutes=5)
"""A deletion that fails for so long is shown as a condition of its own."""
MISMATCHES_FOR = timedelta(minutes=2)
"""After that, an etag that never matches, or is not reported, must not keep a paid node alive."""
UNREADABLE_FOR = timedelta(minutes=10)
"""After that, an identity that may not read the cluster goes by the state of the pool alone."""
