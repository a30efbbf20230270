from tests.stories.test_by_hand import *  # noqa: F403
