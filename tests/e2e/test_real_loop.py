from tests.stories.test_real_loop import *  # noqa: F403
