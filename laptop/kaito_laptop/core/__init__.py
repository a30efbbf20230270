"""What everything stands on: objects, the clock, the event loop, and the files of a state folder."""
