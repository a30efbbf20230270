from tests.stories.test_interruptions import *  # noqa: F403
