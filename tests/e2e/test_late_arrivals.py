from stories.test_late_arrivals import *  # noqa: F403
