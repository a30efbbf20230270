from tests.stories.test_known_weaknesses import *  # noqa: F403
