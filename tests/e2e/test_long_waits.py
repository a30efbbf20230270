from tests.stories.test_long_waits import *  # noqa: F403
