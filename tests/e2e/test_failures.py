from tests.stories.test_failures import *  # noqa: F403
