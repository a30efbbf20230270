from stories.test_interruptions import *  # noqa: F403
