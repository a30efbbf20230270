from tests.stories.test_many import *  # noqa: F403
