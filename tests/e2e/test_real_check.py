from tests.stories.test_real_check import *  # noqa: F403
