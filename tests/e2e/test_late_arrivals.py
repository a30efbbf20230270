from tests.stories.test_late_arrivals import *  # noqa: F403
